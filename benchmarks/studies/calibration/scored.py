"""Merges that no board has: pairs of models, models with one merged layer, merges without one model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
WITHOUT = {"text-8-adapters": 0.5, "text-8-full": 0.75, "vision": 0.3}
"""Boards that are merged without each model in turn, to the scale that each validated for `LEFT_OUT_BY`."""
LEFT_OUT_BY = "tsv_m"

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


def without(bench: Bench, scale: float) -> dict[str, Any]:
    """Merges of all models but one, scored on the others' tasks, next to the merge of all."""
    tasks, rows = bench.setup.seen, {}
    whole = bench.accuracy(bench.merged(tasks, LEFT_OUT_BY), scale, tasks)
    for left_out in tasks:
        others = [task for task in tasks if task != left_out]
        rows[left_out] = _means(bench.accuracy(bench.merged(others, LEFT_OUT_BY), scale, others))
        say(f"without {left_out}: {fmean(rows[left_out].values()):.3f}")
    before = before_merge(inspect_plan(bench.setup.plans[0], workers=1))
    methods = {LEFT_OUT_BY: {"scale": scale, "all": _means(whole), "without": rows}}
    return {"experts": _experts(bench)[1], "before": before, "methods": methods}


@dataclass(frozen=True, slots=True)
class Part:
    """What is scored of a board's models, on how many validation inputs of each task."""

    board: str
    what: str
    score: Callable[[Bench], dict[str, Any]]
    inputs: int

    @property
    def name(self) -> str:
        """The name of its result."""
        return f"{self.board}-{self.what}"


PARTS = {
    part.name: part
    for part in (
        Part("text-8-adapters", "pairs", pairs, 200),
        Part("text-8-full", "pairs", pairs, 100),
        Part("vision", "pairs", pairs, 100),
        Part("text-8-adapters", "layers", layers, 100),
        Part("text-8-full", "layers", layers, 100),
        Part("vision", "layers", layers, 60),
        *(Part(board, "without", partial(without, scale=scale), 100) for board, scale in WITHOUT.items()),
    )
}


def run(name: str) -> None:
    """Score one part and keep it."""
    part, found = PARTS[name], circumstances()
    bench = _bench(part.board, SCRATCH / "merges" / name, part.inputs)
    kept = {"board": name, **found, "inputs": part.inputs, **part.score(bench)}
    shutil.rmtree(bench.folder)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def read_parts(what: str) -> dict[str, Mapping[str, Any]]:
    """Board to what was scored of it beyond its merges, where it was."""
    files = {part.board: RESULTS / f"{part.name}.json" for part in PARTS.values() if part.what == what}
    return {board: json.loads(file.read_text("utf-8")) for board, file in files.items() if file.exists()}
