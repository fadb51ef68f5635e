"""Merges that no board has: pairs of adapters, adapters with one merged layer, merges without one model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import say
from benchmarks.studies.calibration.boards import RESULTS, SCRATCH, setup_of
from benchmarks.studies.calibration.join import before_merge
from benchmarks.studies.calibration.measure import by_task, measure
from benchmarks.studies.calibration.scoring import Bench, Deltas
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.inspection.run import inspect_plan

SUM = "task_arithmetic"
"""What pairs and layers are merged by: a plain sum, so that nothing but the models themselves decides what is lost."""
WITHOUT = {"text-8-adapters": {"tsv_m": 0.5}, "text-8-full": {"tsv_m": 0.75}}
"""Of a board, what is merged without each model in turn, and the scale that the board validated for it."""
BOARD = "text-8-adapters"

Scores = Mapping[str, float]


def _bench(board: str, folder: Path, inputs: int) -> Bench:
    shutil.rmtree(folder, ignore_errors=True)
    return Bench(setup_of(board, [SUM], inputs=inputs), folder)


def _means(scores: Mapping[str, list[float]]) -> dict[str, float]:
    return {task: fmean(values) for task, values in scores.items()}


def _experts(bench: Bench) -> tuple[dict[str, Deltas], dict[str, float]]:
    deltas = {task: bench.merged([task], SUM) for task in bench.setup.seen}
    return deltas, {task: _means(bench.accuracy(own, 1.0, [task]))[task] for task, own in deltas.items()}


def pairs(bench: Bench) -> dict[str, Any]:
    """The sum of every two models, scored on the tasks of both."""
    _, experts = _experts(bench)
    figures = {(one.one, one.other): one for one in inspect_plan(bench.setup.plans[0], workers=1).totals.pairs}
    rows = []
    for pair in combinations(bench.setup.seen, 2):
        scores = _means(bench.accuracy(bench.merged(pair, SUM), 1.0, pair))
        own = figures[pair]
        kept = {
            key: getattr(own, key) for key in ("cosine", "conflict", "overlap_left", "overlap_right", "interference")
        }
        rows.append({"pair": pair, "scores": scores, "figures": kept})
        say(f"{pair}: {scores}")
    return {"experts": experts, "rows": rows}


def layers(bench: Bench) -> dict[str, Any]:
    """Every expert with one layer taken from the sum of all: what this layer's merge costs its task."""
    alone, experts = _experts(bench)
    setup = bench.setup
    merged = bench.merged(setup.seen, SUM)
    names = LayerNames(setup.plans[0].base.tensors, setup.plans[0].base.config)
    cells, _ = measure(setup, [[1.0]])
    figures = {row["task"]: row["layers"] for row in by_task(setup, cells, [[1.0]])}
    rows = []
    for task in setup.seen:
        for layer in sorted({number for name in merged if (number := names.number(name)) is not None}):
            mixed = {**alone[task], **{name: own for name, own in merged.items() if names.number(name) == layer}}
            score = _means(bench.accuracy(mixed, 1.0, [task]))[task]
            rows.append({"task": task, "layer": layer, "score": score, "figures": figures[task][str(layer)]})
        say(f"layers of {task}")
    return {"experts": experts, "rows": rows}


def without(bench: Bench, merges: Mapping[str, float] = WITHOUT[BOARD]) -> dict[str, Any]:
    """Merges of all models but one, scored on the others' tasks, next to the merge of all."""
    tasks, methods = bench.setup.seen, {}
    for method, scale in merges.items():
        whole = bench.accuracy(bench.merged(tasks, method), scale, tasks)
        rows = {}
        for left_out in tasks:
            others = [task for task in tasks if task != left_out]
            rows[left_out] = _means(bench.accuracy(bench.merged(others, method), scale, others))
            say(f"{method} without {left_out}: {fmean(rows[left_out].values()):.3f}")
        methods[method] = {"scale": scale, "all": _means(whole), "without": rows}
    before = before_merge(inspect_plan(bench.setup.plans[0], workers=1))
    return {"experts": _experts(bench)[1], "before": before, "methods": methods}


PARTS: dict[str, tuple[Callable[[Bench], dict[str, Any]], int]] = {
    "pairs": (pairs, 200),
    "layers": (layers, 100),
    "without": (without, 100),
    "without-full": (partial(without, merges=WITHOUT["text-8-full"]), 100),
}
"""What is scored, and on how many validation inputs of each task."""

PLACES = {
    **{name: (BOARD, f"{BOARD}-{name}") for name in PARTS},
    "without-full": ("text-8-full", "text-8-full-without"),
}
"""The board whose models a part merges, and the name of its result."""


def run(part: str) -> None:
    """Score one part and keep it."""
    score_part, inputs = PARTS[part]
    (board, name), found = PLACES[part], circumstances()
    bench = _bench(board, SCRATCH / "merges" / part, inputs)
    kept = {"board": name, **found, "inputs": inputs, **score_part(bench)}
    shutil.rmtree(bench.folder)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
