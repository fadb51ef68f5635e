"""Learning merges of language models: SmolLM2-135M, four domains of text, four adapters (docs/language-models.md).

``python -m benchmarks.studies.language_learning`` goes on where it was interrupted: every figure is kept as soon as
it is known, in benchmarks/results/language_learning.json. Scales and rates are chosen on validation texts; test texts
are only scored.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from benchmarks.pages import language_page
from benchmarks.speed.machine import circumstances
from benchmarks.studies.language_check import compare, keep_parameters
from benchmarks.studies.language_scene import Laboratory, peak_from_here, write_texts
from mergeometry.execution.threads import one_thread

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "language_learning.json"
WORK = ROOT / "benchmarks" / "scratch" / "language_learning"
SEEDS = (0, 1, 2)

SETTINGS: dict[str, Any] = {
    "texts": 128,  # of each domain that learning may draw from; evenly spread over its training texts
    "tokens": 32,  # of each of them; texts that are scored have 64
    "validation": 16,
    "test": 48,
    "batch_size": 2,
    "steps": 20,
    "trial_steps": 8,
}
DATA_FREE: dict[str, tuple[float, ...]] = {
    "average": (1.0,),
    "task_arithmetic": (0.3, 0.4, 0.5, 0.75, 1.0),
    "tsv_m": (0.5, 0.75, 1.0, 1.5),
    "dc_merge": (0.5, 1.0, 2.0),
}
LEARNED: dict[str, dict[str, Any]] = {
    "entropy": {"objective": "adamerging", "coefficients": "tensor"},
    "distill, tensor": {"objective": "distill", "hidden": 0, "coefficients": "tensor"},
    "distill, direction": {"objective": "distill", "hidden": 0, "coefficients": "direction"},
    "distill, pair": {"objective": "distill", "hidden": 0, "coefficients": "pair"},
    "distill, pair, hidden": {"objective": "distill", "hidden": 1, "coefficients": "pair"},
    "distill, pair, rotation": {"objective": "distill", "hidden": 0, "coefficients": "pair", "rotation": "subspace"},
}
RATES: dict[str, tuple[str, tuple[float, ...]]] = {
    "entropy": ("learning_rate", (1e-3, 1e-2)),
    "distill, tensor": ("learning_rate", (0.03, 0.1)),
    "distill, direction": ("learning_rate", (0.05, 0.15)),
    "distill, pair": ("learning_rate", (0.01, 0.03)),
    "distill, pair, rotation": ("rotation_learning_rate", (1e-3, 1e-2)),
}
ROTATED = "distill, pair, rotation"
LIKE_PAIR = ("distill, pair, hidden", ROTATED)
"""Rows that use the coefficients' rate of `distill, pair`, so that they differ only in what they add."""


class Kept:
    """The result file: a figure is looked up, or measured and saved."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.values: dict[str, Any] = {"settings": dict(settings)}
        if path.is_file():
            earlier = json.loads(path.read_text("utf-8"))
            if earlier.get("settings") == self.values["settings"]:
                self.values = earlier

    def get(self, group: str, name: str, make: Callable[[], Any]) -> Any:
        """The figure of that name, measured now if there is none yet."""
        known = self.values.setdefault(group, {})
        if name not in known:
            known[name] = make()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.values, indent=1) + "\n", "utf-8")
            print(f"{group}: {name}: {_short(known[name])}", file=sys.stderr, flush=True)
        return known[name]


def mean(scores: Mapping[str, float]) -> float:
    """Mean over domains of the log perplexity."""
    return sum(scores.values()) / len(scores)


def measure(kept: Kept, laboratory: Laboratory) -> None:
    """Every figure of the page, those of the first seed first."""
    kept.get("test", "base", lambda: laboratory.score({}, "test"))
    kept.get("test", "own expert", lambda: laboratory.score_experts("test"))
    for method, scales in DATA_FREE.items():
        for scale in scales:
            kept.get("validation", f"{method} {scale:g}", lambda m=method, s=scale: _data_free(laboratory, m, s))
        scale = best_scale(kept.values, method)
        kept.get("test", f"{method} {scale:g}", lambda m=method, s=scale: _data_free(laboratory, m, s, "test"))
    for name, (key, rates) in RATES.items():
        for rate in rates:
            section = {**_section(kept.values, name), key: rate, "steps": SETTINGS["trial_steps"]}
            kept.get(
                "trials", f"{name} {rate:g}",
                lambda n=name, s=section: _learned(laboratory, kept.values, n, s, 0, "validation"),
            )  # fmt: skip
    for seed in SEEDS:
        for name in LEARNED:
            section = section_of(kept.values, name)
            kept.get(
                "learned", f"{name}, seed {seed}",
                lambda n=name, s=section, o=seed: _learned(laboratory, kept.values, n, s, o, "test"),
            )  # fmt: skip


def check(kept: Kept, laboratory: Laboratory) -> None:
    """The command's folder against memory: the best row without a rotation, and the row with one."""
    method, scale = start_of_learning(kept.values)
    for name in (best_row(kept.values), ROTATED):
        section = section_of(kept.values, name)
        kept.get(
            "folders", name,
            lambda n=name, s=section: compare(laboratory, method, scale, s, learned_file(n), WORK),
        )  # fmt: skip


def learned_file(name: str) -> Path:
    """The file with the learned numbers of a row's first seed."""
    return WORK / f"{name.replace(', ', '-')}.safetensors"


def best_row(values: Mapping[str, Any]) -> str:
    """The learned row without a rotation that keeps most, over the seeds."""
    rows = [name for name in LEARNED if name != ROTATED]
    return min(rows, key=lambda name: sum(mean(values["learned"][f"{name}, seed {seed}"]["scores"]) for seed in SEEDS))


def section_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The `adapt:` section of a learned row, with the rates of the best validation score."""
    section = {**_section(values, name), "steps": SETTINGS["steps"]}
    if name in RATES:
        section[RATES[name][0]] = best_rate(values, name)
    return section


def best_scale(values: Mapping[str, Any], method: str) -> float:
    """The scale with the lowest mean log perplexity of validation texts."""
    return min(DATA_FREE[method], key=lambda scale: mean(values["validation"][f"{method} {scale:g}"]))


def best_rate(values: Mapping[str, Any], name: str) -> float:
    """The rate whose short run has the best validation score."""
    return min(RATES[name][1], key=lambda rate: mean(values["trials"][f"{name} {rate:g}"]["scores"]))


def start_of_learning(values: Mapping[str, Any]) -> tuple[str, float]:
    """The data-free merge with the best validation score, where all learned rows start."""
    methods = [name for name in DATA_FREE if name != "average"]
    scores = values["validation"]
    best = min(methods, key=lambda method: mean(scores[f"{method} {best_scale(values, method):g}"]))
    return best, best_scale(values, best)


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    rate = {"learning_rate": best_rate(values, "distill, pair")} if name in LIKE_PAIR else {}
    return {**LEARNED[name], **rate, "batch_size": SETTINGS["batch_size"]}


def _data_free(laboratory: Laboratory, method: str, scale: float, split: str = "validation") -> dict[str, float]:
    return laboratory.score(laboratory.merged(method, scale), split)


def _learned(
    laboratory: Laboratory, values: Mapping[str, Any], name: str, section: Mapping[str, Any], seed: int, split: str
) -> dict[str, Any]:
    (method, scale), peak = start_of_learning(values), peak_from_here()
    started, shared = time.process_time(), laboratory.experts_seconds
    prepared = laboratory.prepare(method, scale, section, seed)
    started += laboratory.experts_seconds - shared  # whichever row comes first runs the experts, for all
    before = time.process_time() - started
    state = prepared.learner.learn(lambda _point: None, lambda _state: None)
    took = time.process_time() - started
    weights = prepared.scene.merged.weights(prepared.table, prepared.scene.dtype)
    if split == "test" and seed == 0:
        keep_parameters(prepared, learned_file(name))
    return {
        "section": dict(section),
        "preparing_s": before,
        "seconds": took,
        "peak_bytes": peak(),
        "learned_numbers": prepared.table.count,
        "losses": [point.loss for point in state.points if math.isfinite(point.loss)],
        "scores": laboratory.score(weights, split, prepared.scene.rotations[0]),
    }


def _short(found: Any) -> str:
    scores = found.get("scores", found) if isinstance(found, dict) else found
    numbers = isinstance(scores, dict) and all(isinstance(value, float) for value in scores.values())
    return f"mean log perplexity {mean(scores):.4f}" if numbers else "done"


def main(arguments: Sequence[str]) -> None:
    if list(arguments) != ["page"]:
        write_texts(WORK / "texts")
        kept = Kept(RESULT, SETTINGS)
        kept.get("run", "circumstances", circumstances)
        with one_thread():
            laboratory = Laboratory(WORK / "texts", SETTINGS)
            measure(kept, laboratory)
            check(kept, laboratory)
    language_page.write(RESULT, ROOT / "docs" / "language-models.md")


if __name__ == "__main__":
    main(sys.argv[1:])
