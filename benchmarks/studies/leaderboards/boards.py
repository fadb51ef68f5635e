"""What is compared on which suite: every figure of docs/leaderboards.md is of one of these boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Item = str | dict[str, Any]
"""A method as `mergeometry compare --methods` takes it."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A suite, the methods merged on it, the scales tried, and the inputs per task for choosing and reporting."""

    title: str
    question: str
    suite: str
    full: bool
    methods: Sequence[Item]
    scales: str
    validation: int
    test: int
    rules: str = ""
    leave_out: str = ""
    only: Sequence[str] = ()
    """The tasks that are merged and scored, where those are not all of the suite."""
    seed: int = 0
    habit: str = "plain"
    """How the suite's full fine-tunes were trained; `mergeometry suite train --full --habit` lists the choices."""


def _with_rows(*methods: str) -> list[Item]:
    return [{"name": f"{method} rows", "method": method, "other": "rows"} for method in methods]


def _simplex(*frames: str) -> list[Item]:
    return [{"name": f"mda {frame}", "method": {"name": "mda", "simplex": frame}} for frame in frames]


TEXT_14_ONLY = ("sms", "nyt", "r52", "nouns", "verbs", "bible")
"""The tasks of text-14 that text-8 does not have."""

OTHER_RULES = (
    "relative_projection", "own_projection", "own_share", "norm_sqrt", "gram_retention", "svc_gamma", "inverse_norm",
)  # fmt: skip


TWO_RULES = "norm_mean(per=model), projection(per=model)"


def _per_model(*rules: str) -> str:
    return ", ".join(f"{rule}(per=model)" for rule in rules)


OURS: list[Item] = [
    "own_blocks",
    {"name": "own_blocks average", "method": "own_blocks", "other": "average"},
    *_with_rows("iso_cts", "tsv_m", "dc_merge"),
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


def _other_seed(seed: int) -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes of training seed {seed}", suite="text-8", full=True, seed=seed,
        question="Does the first board's result hold for its experts alone, or for any experts of these tasks?",
        methods=["own_blocks", *_with_rows("iso_cts", "tsv_m", "dc_merge"), *CLASSICAL, *SPECTRAL,
                 {"name": "dc_merge linear", "method": {"name": "dc_merge", "smoothing": "linear"}},
                 *_simplex("directions", "random"), *WITH_INPUTS],
        scales=SHORT, validation=100, test=400, rules=TWO_RULES,
    )  # fmt: skip


def _adapters(title: str, suite: str, only: Sequence[str] = (), more: Sequence[Item] = (), **sizes: Any) -> Board:
    """A board of LoRA experts for the study of `method: auto`: what it chooses among, at scale 1 and by `auto`."""
    methods: list[Item] = [
        "average", *more, "own_blocks", *SPECTRAL,
        {"name": "dc_merge linear", "method": {"name": "dc_merge", "smoothing": "linear"}},
    ]  # fmt: skip
    return Board(
        title=title, suite=suite, full=False, only=only, methods=methods, rules="norm_mean(per=model)",
        question="Which method should be taken for adapters, by what they are and how many?", **sizes,
    )  # fmt: skip


DC_NONE: Item = {"name": "dc_merge none", "method": {"name": "dc_merge", "smoothing": "none"}}
"""What the row `dc_merge` of the first boards of adapters is: the method by its name alone smooths adapters."""

ALL_OF_ADAPTERS: list[Item] = [
    "own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, DC_NONE,
    {"name": "dc_merge linear", "method": {"name": "dc_merge", "smoothing": "linear"}},
]  # fmt: skip
HALF = "one(factor=0.5, per=model)"
"""Scores half a scale on test inputs too, which is what `method: auto` chooses for adapters."""


def _ladder(title: str, suite: str) -> Board:
    return Board(
        title=title, suite=suite, full=False, methods=ALL_OF_ADAPTERS, rules=f"norm_mean(per=model), {HALF}",
        question="The ladder of 8, 14 and 20 tasks for adapters: how much of each is left?",
        scales="0.2,0.3,0.5,1", validation=60, test=200,
    )  # fmt: skip


def _at_half(title: str, only: Sequence[str] = (), more: Sequence[Item] = ()) -> Board:
    """Test figures at scale 0.5 for the study of `method: auto`, where a board has them on validation inputs alone."""
    return Board(
        title=title, suite="text-8", full=False, only=only, methods=["own_blocks", *more], scales="0.5,1",
        question="What is half a scale worth on adapters, on the board's own inputs?",
        validation=60 if only else 75, test=250, rules="one(factor=0.5, per=model)",
    )  # fmt: skip


def _readings(title: str, full: bool = True, seed: int = 0) -> Board:
    return Board(
        title=title, suite="text-8", full=full, seed=seed, methods=READINGS,
        question="Should both sides be decorrelated, the left alone, or neither, and does the frame matter?",
        scales="0.3,0.5,0.75,1", validation=60, test=200,
    )  # fmt: skip


HABITS: list[Item] = [
    "own_blocks",
    {"name": "own_blocks average", "method": "own_blocks", "other": "average"},
    *_with_rows("dc_merge", "iso_cts", "tsv_m"),
    "dc_merge", "iso_cts", "tsv_m", "iso_c", "ties", "average",
]  # fmt: skip


def _of_habit(habit: str, how: str, scales: str = "0.5,0.75,1") -> Board:
    return Board(
        title=f"Text, 8 tasks, full fine-tunes {how}", suite="text-8", full=True, habit=habit,
        question="Does the first board's result hold for fine-tunes that others made?",
        methods=HABITS, scales=scales, validation=100, test=400,
    )  # fmt: skip


BOARDS = {
    "text-8-full": Board(
        title="Text, 8 tasks, full fine-tunes", suite="text-8", full=True,
        question="Which method keeps most of eight full fine-tunes of one small encoder?",
        methods=[*OURS, *CLASSICAL, "knots", *SPECTRAL, {"name": "dc_merge linear", "method":
                 {"name": "dc_merge", "smoothing": "linear"}}, *_simplex("directions", "tasks", "neurons", "random"),
                 *WITH_INPUTS],
        scales=SHORT, validation=100, test=400, rules=TWO_RULES,
    ),
    "text-8-full-seed-1": _other_seed(1),
    "text-8-full-seed-2": _other_seed(2),
    "text-8-full-weight-decay": _of_habit("weight-decay", "with weight decay 0.01", SHORT),
    "text-8-full-strong-decay": _of_habit("strong-decay", "with weight decay 0.1"),
    "text-8-full-low-rate": _of_habit("low-rate", "with weight decay, at a sixth of the rate"),
    "text-8-full-few-steps": _of_habit("few-steps", "with weight decay, one epoch"),
    "text-8-full-many-steps": _of_habit("many-steps", "with weight decay, twelve epochs"),
    "text-8-full-bfloat16": _of_habit("bfloat16", "with weight decay, saved in bfloat16"),
    "text-14-full": Board(
        title="Text, 14 tasks, full fine-tunes", suite="text-14", full=True,
        question="The same tasks and more, too many for the weights to hold.",
        methods=[*OURS, *CLASSICAL, *SPECTRAL, *_simplex("directions", "tasks"), *WITH_INPUTS],
        scales=SCALES, validation=80, test=250,
    ),
    "text-20-full": Board(
        title="Text, 20 tasks, full fine-tunes", suite="text-20", full=True,
        question="The last step from 8 to 14 to 20 tasks: what is left when so many models share the weights?",
        methods=["own_blocks", *_with_rows("iso_cts", "dc_merge", "tsv_m"), *SPECTRAL, "average", "task_arithmetic",
                 "ties"],
        scales="0.3,0.5,0.75,1", validation=60, test=200,
    ),
    "text-8-adapters": Board(
        title="Text, 8 tasks, LoRA experts", suite="text-8", full=False,
        question="The same tasks as rank-16 adapters, and how good scales without labels are there.",
        methods=["own_blocks", "task_arithmetic", *SPECTRAL],
        scales=SHORT, validation=75, test=250, rules="one, norm_mean, projection, " + _per_model(*OTHER_RULES),
    ),
    "text-2-adapters": _adapters("Text, 2 tasks, LoRA experts", "text-8", ("movie", "r8"), ["task_arithmetic", "ties"],
                                 scales="0.3,0.5,0.75,1", validation=60, test=250),
    "text-8-adapters-half": _at_half("Text, 8 tasks, LoRA experts, at half a scale"),
    "text-2-adapters-half": _at_half("Text, 2 tasks, LoRA experts, at half a scale", ("movie", "r8"), [DC_NONE]),
    "text-6-adapters": _adapters("Text, 6 other tasks, LoRA experts", "text-14", TEXT_14_ONLY,
                                 scales="0.5,1", validation=50, test=200),
    "text-14-adapters": _ladder("Text, 14 tasks, LoRA experts", "text-14"),
    "text-20-adapters": _ladder("Text, 20 tasks, LoRA experts", "text-20"),
    "vision-6-adapters": _adapters("Vision, 6 tasks, LoRA experts", "vision-6",
                                   scales="0.5,1", validation=30, test=100),
    "vision-6-full": Board(
        title="Vision, 6 tasks, full fine-tunes", suite="vision-6", full=True,
        question="Does what was found on texts hold for a vision transformer, which has no table of words?",
        methods=["own_blocks", *CLASSICAL, "knots", *SPECTRAL, *_simplex("directions", "random"), *WITH_INPUTS],
        scales=SCALES, validation=60, test=300, rules=TWO_RULES,
    ),
    "vision-full": Board(
        title="Vision, 9 tasks, full fine-tunes", suite="vision", full=True,
        question="The same with three more tasks, which almost any update for another task harms.",
        methods=["own_blocks", *CLASSICAL, *SPECTRAL, *_simplex("directions")],
        scales=SCALES, validation=60, test=300, rules=TWO_RULES,
    ),
    "vision": Board(
        title="Vision, 9 tasks, LoRA experts", suite="vision", full=False,
        question="Does what was found on texts hold for adapters of a vision transformer, which has no table of words?",
        methods=["own_blocks", "task_arithmetic", *SPECTRAL],
        scales="0.3,0.5,1", validation=30, test=100,
    ),
    "language-model": Board(
        title="Language model, 6 domains, LoRA experts", suite="language-model", full=False,
        question="Does what was found on encoders hold for adapters of a model that writes text, by its perplexity?",
        methods=["own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, DC_NONE],
        scales="0.5,1", validation=6, test=16,
    ),
    "unseen": Board(
        title="Text, 12 of 14 tasks merged, 2 never seen", suite="text-14", full=True, leave_out="trec,amazon",
        question="What does a merge know about tasks that none of its models was trained on?",
        methods=["own_blocks", "average", "task_arithmetic", "ties", *SPECTRAL, *_simplex("directions")],
        scales="0.2,0.5,0.75,1", validation=50, test=200,
    ),
    "dc-merge": Board(
        title="DC-Merge's choices", suite="text-8", full=True,
        question="What do smoothing, selection and the block mask each do?",
        methods=[*DC_GRID, *RHO], scales="0.5,1", validation=50, test=200,
    ),
    "simplex": Board(
        title="Readings of the simplex step", suite="text-8", full=True,
        question="Does any reading of MDA's simplex step help a merge, on any core, side or layers?",
        methods=SIMPLEX, scales="0.5,0.75,1", validation=100, test=400,
    ),
    "mda-readings": _readings("Readings of MDA's subspace"),
    "mda-readings-seed-1": _readings("Readings of MDA's subspace, training seed 1", seed=1),
    "mda-readings-seed-2": _readings("Readings of MDA's subspace, training seed 2", seed=2),
    "mda-readings-adapters": _readings("Readings of MDA's subspace, LoRA experts", full=False),
    "dc-merge-adapters": Board(
        title="DC-Merge's smoothing, LoRA experts", suite="text-8", full=False,
        question="What does the smoothing that its authors use for adapters do?",
        methods=[{"name": f"dc_merge {how}", "method": {"name": "dc_merge", "smoothing": how}}
                 for how in ("average", "linear", "none")],
        scales="0.3,0.5,1", validation=50, test=100,
    ),
    "text-8-full-rules": Board(
        title="Scales without labels, full fine-tunes", suite="text-8", full=True,
        question="How good is every rule for scales where task vectors are long?",
        methods=["own_blocks", "task_arithmetic", "ties", "iso_cts", "dc_merge"],
        scales=SHORT, validation=75, test=250, rules="one, norm_mean, projection, " + _per_model(*OTHER_RULES),
    ),
    "ranks": Board(
        title="Ranks", suite="text-8", full=True,
        question="How many directions of each task does a merge need?",
        methods=RANKS, scales="0.5,1", validation=50, test=200,
    ),
}  # fmt: skip
