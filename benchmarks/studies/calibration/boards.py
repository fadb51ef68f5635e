"""The boards whose recorded scores are joined with figures, and their models as `mergeometry compare` reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import ROOT
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import Board
from benchmarks.studies.leaderboards.rows import UNSMOOTHED, Item
from benchmarks.studies.leaderboards.run import RESULTS as LEADERBOARDS
from mergeometry.comparison.entries import Entry, read_entries
from mergeometry.comparison.setup import Setup, set_up
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.recipe import load_recipe

SCRATCH = ROOT / "benchmarks" / "scratch" / "calibration"
RESULTS = ROOT / "benchmarks" / "results" / "calibration"

USED = (
    "text-8-adapters",
    "vision",
    "text-8-full",
    "text-8-full-seed-1",
    "text-8-full-seed-2",
    "text-14-full",
    "vision-6-full",
    "vision-full",
    "language-model",
)
"""Boards of the library's own methods with scores per task; the others vary one method's choices on the same models."""

TEXT, VISION, LANGUAGE = "text", "vision", "language model"

ADAPTERS = "text-8-adapters"

LEFT_OUT = frozenset({"wudi", "knots", "regmean", "esm", "mda tasks", "mda neurons", "mda random", "dc_merge linear",
                      "own_blocks average"})  # fmt: skip
"""Rows of full fine-tunes that are not merged again: they take minutes each, or merge like another row."""

FIRST_ALONE = frozenset({"mda directions", "iso_cts rows"})
"""Rows that only the first board of full fine-tunes has: each is within a point of a row that all boards have."""

MODELS = {name: (BOARDS[name].suite, BOARDS[name].full, BOARDS[name].seed) for name in USED}
"""Board to its suite, whether its models are full fine-tunes, and their training seed."""


def recorded(name: str) -> dict[str, Any]:
    """A board's comparison, as `benchmarks.studies.leaderboards` or the suite's own leaderboard kept it."""
    if name == ADAPTERS:
        return _of_the_suite()
    found = json.loads((LEADERBOARDS / f"{name}.json").read_text("utf-8"))["comparison"]
    return _as_likelihoods(found) if found["measure"] == "perplexity" else found


def _as_likelihoods(comparison: dict[str, Any]) -> dict[str, Any]:
    """Scores of which more is better in place of perplexities: the geometric mean of a token's likelihood."""
    rows = [
        {**row, **{at: {"tasks": _inverse(row[at]["tasks"])} for at in ("at_one", "at_best")}}
        for row in comparison["rows"]
    ]
    ends = {end: _inverse(comparison[end]) for end in ("base", "experts")}
    return {**comparison, **ends, "rows": rows}


def _inverse(perplexities: Mapping[str, float]) -> dict[str, float]:
    return {task: 1 / value for task, value in perplexities.items()}


def _of_the_suite() -> dict[str, Any]:
    """The suite's leaderboard in a comparison's form: all methods on 500 test texts per task."""
    found = json.loads((ROOT / "benchmarks" / "results" / "leaderboard.json").read_text("utf-8"))
    rows = [
        {**row, "at_one": {"tasks": row["at_one"]["accuracy"]}, "at_best": {"tasks": row["at_best"]["accuracy"]}}
        for row in found["rows"]
    ]
    inputs = {"test": dict.fromkeys(found["tasks"], found["texts"]["test"] // len(found["tasks"]))}
    return {"base": found["base"], "experts": found["experts"], "inputs": inputs, "rows": rows}


def modality(name: str) -> str:
    """What a board's models read: encoders of texts or of images, or a model that writes text."""
    suite = MODELS[name][0]
    return VISION if suite.startswith("vision") else LANGUAGE if suite == "language-model" else TEXT


def scales_of(row: Mapping[str, Any]) -> dict[float, Mapping[str, float]]:
    """The scales at which a row has scores per task, with the scores."""
    return {1.0: row["at_one"]["tasks"], float(row["best_scale"]): row["at_best"]["tasks"]}


def suite_folder(name: str) -> Path:
    """The board's suite on disk, written where it is not there yet."""
    (suite, full, seed), folder = MODELS[name], SCRATCH / name / "suite"
    if not (folder / "recipe.yaml").exists():
        command = [sys.executable, "-m", "mergeometry", "suite", "tasks", "--suite", suite, "--output", folder]
        extra = ["--full", "--seed", str(seed)] if full else []
        subprocess.run([*map(str, command), *extra], check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


def setup_of(name: str, methods: Sequence[Any], *, inputs: int = 0) -> Setup:
    """The board's models and tasks with some methods, and as many inputs of each split, by default the board's."""
    folder, board = suite_folder(name), BOARDS.get(name)
    validation, test = (board.validation, board.test) if board and not inputs else (inputs, inputs)
    tasks = json.loads((folder / "tasks.yaml").read_text("utf-8"))
    for task in tasks["tasks"]:
        for split, limit in (("validation", validation), ("test", test)):
            task[split] = {"path": str(folder / task[split]), "limit": limit}
        task |= {key: str(folder / task[key]) for key in ("head", "unlabelled") if key in task}
    entries, _ = read_entries(list(methods))
    return set_up(load_recipe(folder / "recipe.yaml"), entries, load_tasks(tasks), [], everything=False)


def entries_of(name: str) -> list[Entry]:
    """The rows of a board that are merged again."""
    board: Board = BOARDS[name]
    rows = [row["name"] for row in recorded(name)["rows"]]
    if name == ADAPTERS:
        defined = read_entries([_SPELT.get(row, row) for row in rows])[0]
        return [replace(entry, name=row) for entry, row in zip(defined, rows, strict=True)]
    methods = [_as_scored(name, item) for item in board.methods]
    entries = [entry for entry in read_entries(methods)[0] if entry.name in rows]
    left_out = LEFT_OUT if name == "text-8-full" else LEFT_OUT | FIRST_ALONE
    return [entry for entry in entries if not (board.full and entry.name in left_out)]


def _as_scored(name: str, item: Item) -> Item:
    """A method of a board as it merged when the board was scored."""
    unsmoothed = item == "dc_merge" and name in UNSMOOTHED
    return {"name": "dc_merge", "method": {"name": "dc_merge", "smoothing": "none"}} if unsmoothed else item


_SPELT = {
    "dc_merge": "dc_merge(smoothing=none)",
    "dc_merge linear": "dc_merge(smoothing=linear)",
    "mda tasks": "mda(simplex=tasks)",
    "mda directions": "mda(simplex=directions)",
}
"""Names of the suite's leaderboard as `mergeometry compare` takes them."""
