"""The rows of the boards: methods as `mergeometry compare --methods` takes them, and the scales tried."""

from __future__ import annotations

from typing import Any

Item = str | dict[str, Any]
"""A method as `mergeometry compare --methods` takes it."""


def with_rows(*methods: str) -> list[Item]:
    return [{"name": f"{method} rows", "method": method, "other": "rows"} for method in methods]


def simplex(*frames: str) -> list[Item]:
    return [{"name": f"mda {frame}", "method": {"name": "mda", "simplex": frame}} for frame in frames]


TEXT_14_ONLY = ("sms", "nyt", "r52", "nouns", "verbs", "bible")
"""The tasks of text-14 that text-8 does not have."""

OTHER_RULES = (
    "relative_projection", "own_projection", "own_share", "norm_sqrt", "gram_retention", "svc_gamma", "inverse_norm",
)  # fmt: skip


TWO_RULES = "norm_mean(per=model), projection(per=model)"


def per_model(*rules: str) -> str:
    return ", ".join(f"{rule}(per=model)" for rule in rules)


OURS: list[Item] = [
    "own_blocks",
    {"name": "own_blocks average", "method": "own_blocks", "other": "average"},
    *with_rows("iso_cts", "tsv_m", "dc_merge"),
]
CLASSICAL: list[Item] = ["average", "task_arithmetic", "ties", "wudi"]
SPECTRAL: list[Item] = ["tsv_m", "iso_c", "iso_cts", "dc_merge"]
WITH_INPUTS: list[Item] = ["regmean", "esm"]
SCALES = "0.1,0.2,0.3,0.5,0.75,1"
SHORT = "0.2,0.3,0.5,0.75,1"
DC_GRID: list[Item] = [
    {
        "name": f"{smoothing}, {combine}" + ("" if mask else ", no mask") + (f", keep {keep:g}" if keep else ""),
        "method": {"name": "dc_merge", "smoothing": smoothing, "combine": combine, "block_mask": mask}
        | ({"keep": keep} if keep else {}),
    }
    for smoothing in ("none", "average", "linear")
    for combine, mask, keep in (
        ("ties", True, 1e-3), ("ties", True, 1e-2), ("ties", True, 1.0), ("ties", False, 1e-3), ("sum", True, None),
        ("sum", False, None),
    )
]  # fmt: skip
RHO: list[Item] = [
    {"name": f"linear, rho {rho:g}", "method": {"name": "dc_merge", "smoothing": "linear", "rho": rho}}
    for rho in (2.0, 10.0)
]


def _variant(name: str, **choices: Any) -> Item:
    return {"name": name, "method": {"name": "simplex_variant", **choices}}


FRAMES: dict[str, dict[str, Any]] = {
    "": {},
    ", directions, both sides": {"simplex": "directions", "sides": "both"},
    ", tasks": {"simplex": "tasks"},
    ", tasks, both sides": {"simplex": "tasks", "sides": "both"},
    ", leading": {"simplex": "leading"},
    ", tasks, last 2 layers": {"simplex": "tasks", "last": 2},
}
SIMPLEX: list[Item] = [
    *(_variant(f"values{name}", **frame) for name, frame in FRAMES.items()),
    *(_variant(f"flat{name}", spectrum="flat", **FRAMES[name]) for name in ("", ", tasks", ", tasks, both sides")),
    *(_variant(f"blocks{name}", core="own blocks", **FRAMES[name]) for name in ("", ", tasks", ", tasks, both sides")),
]
"""Each frame next to the same merge without one, on three cores; tables by rows throughout."""
READINGS: list[Item] = [
    {"name": f"{name}, {frame}", "method": {"name": "mda", "simplex": frame, **reading}}
    for name, reading in (
        ("both sides", {}), ("left only", {"sides": "left"}), ("svd, neither side", {"subspace": "svd"}),
    )
    for frame in ("none", "directions")
]  # fmt: skip
"""What MDA's subspace may be, each with the frame and without it."""
RANKS: list[Item] = [
    {"name": f"{method}, rank {rank:g}", "method": {"name": method, "rank": rank}, "other": "rows"}
    for method in ("tsv_m", "own_blocks")
    for rank in (0.01, 0.03, 0.0625, 0.125)
]
DC_NONE: Item = {"name": "dc_merge none", "method": {"name": "dc_merge", "smoothing": "none"}}
"""What the row `dc_merge` of the first boards of adapters is: the method by its name alone smooths adapters."""

DC_LINEAR: Item = {"name": "dc_merge linear", "method": {"name": "dc_merge", "smoothing": "linear"}}
UNSMOOTHED = ("text-2-adapters", "text-8-adapters", "vision-6-adapters", "vision")
"""Boards of adapters that were measured before `dc_merge` smoothed their singular values by default."""
ALL_OF_ADAPTERS: list[Item] = [
    "own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, DC_NONE, DC_LINEAR,
]  # fmt: skip


def with_steps(method: str, *steps: str) -> list[Item]:
    return [{"name": f"{method} + {step}", "method": method, "refine": [step]} for step in steps]


TSV_M_REFINED = with_steps("tsv_m", "pico", "norm")
REFINED = [*with_steps("task_arithmetic", "pico", "norm"), *TSV_M_REFINED]
"""Merges of adapters whose size is restored; `norm` is the half of `pico` that follows the merge, the control."""
RECORDS: list[Item] = [
    "own_blocks",
    "ct_merging",
    "core_space",
    {"name": "core_space ties", "method": {"name": "core_space", "combine": "ties", "isotropic": False}},
    *REFINED,
]
"""Published merges of adapters."""
HALF = "one(factor=0.5, per=model)"
"""Scores half a scale on test inputs too, which is what `method: auto` chooses for adapters."""
HABITS: list[Item] = [
    "own_blocks",
    {"name": "own_blocks average", "method": "own_blocks", "other": "average"},
    *with_rows("dc_merge", "iso_cts", "tsv_m"),
    "dc_merge", "iso_cts", "tsv_m", "iso_c", "ties", "average",
]  # fmt: skip


_OF_ROWS: dict[str, dict[str, Any]] = {
    "swudi": {"name": "swudi"},
    "swudi-a": {"name": "swudi", "keep": "auto", "filter": "none"},
    "actmat": {"name": "actmat"},
    "ace": {"name": "ace"},
    "reforge": {"name": "reforge"},
    "reforge own_blocks": {"name": "reforge", "anchor": "own_blocks"},
    "reforge own_blocks, ridge 10": {"name": "reforge", "anchor": "own_blocks", "ridge": 10.0},
}
REGRESSIONS: list[Item] = [{"name": name, "method": method} for name, method in _OF_ROWS.items()]
"""Regressions on the task vectors' own rows, as published: other tensors are averaged."""
REGRESSIONS_WITH_ROWS: list[Item] = [
    *({"name": f"{name} rows", "method": method, "other": "rows"} for name, method in _OF_ROWS.items()),
    *({"name": name, "method": _OF_ROWS[name]} for name in ("swudi-a", "ace")),
]
"""The same with tables by rows, and two of them as published."""
REGRESSIONS_OF_SEEDS = [row for row in REGRESSIONS_WITH_ROWS if isinstance(row, dict) and row["name"] in (
    "swudi rows", "swudi-a rows", "actmat rows", "ace rows", "reforge rows",
)]  # fmt: skip
"""One of each."""
