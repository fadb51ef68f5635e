"""What the leaderboards say of every merge that needs no data: one figure on validation inputs, one on test inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import BESIDE, Board
from benchmarks.studies.leaderboards.rows import UNSMOOTHED
from mergeometry.plan.choice_of_method import Facts, Form, Group, Merge

RESULTS = Path(__file__).parents[2] / "results" / "leaderboards"
AUTO_RULE = "norm_mean per model"
"""What `scale: auto` means for every method among the candidates."""

_NAMES = ("average", "task_arithmetic", "ties", "wudi", "tsv_m", "iso_c", "iso_cts", "dc_merge", "own_blocks")
CANDIDATES: Mapping[str, Merge] = {
    **{name: Merge({"name": name}) for name in _NAMES},
    **{f"{name} rows": Merge({"name": name}, "rows") for name in ("tsv_m", "iso_cts", "dc_merge")},
    "dc_merge linear": Merge({"name": "dc_merge", "smoothing": "linear"}),
    "dc_merge none": Merge({"name": "dc_merge", "smoothing": "none"}),
    **{f"{name} + {step}": Merge({"name": name}, refine=(step,))
       for name in ("task_arithmetic", "tsv_m") for step in ("pico", "norm")},
}  # fmt: skip
"""The rows of the boards that may be chosen."""

WITH_INPUTS = ("regmean", "esm")
"""Rows that need inputs of each task, and so are no measure of a choice without them."""

USED = (
    "text-8-full", "text-8-full-seed-1", "text-8-full-seed-2", "text-14-full", "vision-6-full", "vision-full",
    "text-8-adapters", "text-2-adapters", "text-6-adapters", "vision", "vision-6-adapters",
)  # fmt: skip
"""The boards that rules are fitted and tested on, where they have been run; a new one is added by hand."""

LATER = (
    "text-14-full-seed-1", "text-14-full-seed-2", "text-20-full", "text-20-full-seed-1", "text-20-full-seed-2",
    "text-8-full-weight-decay", "text-8-full-strong-decay", "text-8-full-low-rate", "text-8-full-few-steps",
    "text-8-full-many-steps", "text-8-full-bfloat16", "text-8-full-folded", "vision-6-full-seed-1",
    "vision-6-full-seed-2", "vision-full-seed-1", "vision-full-seed-2", "text-14-adapters", "text-20-adapters",
    "text-8-adapters-seed-1", "text-8-adapters-seed-2", "vision-4-adapters-seed-1", "vision-6-adapters-seed-1",
)  # fmt: skip
"""Boards that were measured after the rules had been fitted, and so test them."""

HALF = 0.5
"""The scale besides 1 that every board of adapters has on its grid."""

HALF_RULE = "0.5 x one"
"""The same scale, where a board scores it as a rule."""

SCALES: Mapping[Form, tuple[float | str, ...]] = {"full": (1.0, "auto"), "adapters": (HALF, 1.0, "auto")}
"""The scales that may be chosen. Half a scale is for adapters alone, which most methods merge too strongly at 1.

The penalties of most heads were chosen on validation inputs, on which small scales look better than they are.
"""

LEFT_OUT = {
    "dc-merge": "compares options of one method",
    "dc-merge-adapters": "compares options of one method with few others, on the experts of text-8-adapters",
    "language-model": "is scored by perplexity, whose regrets cannot be averaged with those of accuracies",
    "mda-readings": "and the boards named after it compare readings of one method",
    "ranks": "compares ranks of two methods",
    "simplex": "compares readings of one step",
    "text-8-full-rules": "has five of the methods of text-8-full, on the same experts",
    "unseen": "has no row with `other: rows`, on the experts of text-14-full",
}
"""Boards that are not used, and why: each after its name."""


@dataclass(frozen=True)
class Arm:
    """A merge at a scale that needs no labels: a number, or `auto`."""

    row: str
    scale: float | str

    @property
    def merge(self) -> Merge:
        """What a recipe says."""
        named = CANDIDATES[self.row]
        return replace(named, scale=self.scale)

    def __str__(self) -> str:
        return f"`{self.row}` at {self.scale:g}" if isinstance(self.scale, float) else f"`{self.row}` at `{self.scale}`"


@dataclass(frozen=True)
class Figures:
    """Mean accuracies of one arm; no figure on validation inputs where the scale lies outside the grid there.

    None on test inputs where a scale of the grid was not scored there.
    """

    validation: float | None
    test: float | None


@dataclass(frozen=True)
class Scored:
    """A board: what its models are, its arms, and the best that hindsight finds on its test inputs."""

    name: str
    title: str
    form: Form
    kind: str
    group: Group
    suite: str
    tasks: int
    arms: Mapping[Arm, Figures]
    best: float
    best_name: str
    best_validation: float
    """The best figure on validation inputs, of any row at any scale."""


def read(folder: Path = RESULTS, names: Sequence[str] = USED) -> dict[str, Scored]:
    """Every board of these that was run."""
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}

    def comparison(name: str) -> Mapping[str, Any]:
        return json.loads(files[name].read_text("utf-8"))["comparison"]

    def beside(name: str, *ends: str) -> list[Mapping[str, Any]]:
        return [comparison(more) for end in ends if (more := f"{name}-{end}") in files]

    return {name: _scored(name, comparison(name), beside(name, "half", *BESIDE)) for name in names if name in files}


def kind_of(board: Board) -> str:
    """What the inputs of a board's models are."""
    return "image" if board.suite.startswith("vision") else "text"


def group_of(board: Board) -> Group:
    """The models that share a rule of `method: auto` with a board's."""
    full = board.full and board.habit != "folded"
    return Facts(models=1, adapters=0 if full else 1, kind=kind_of(board)).group


def _scored(name: str, comparison: Mapping[str, Any], more: Sequence[Mapping[str, Any]]) -> Scored:
    """A board with the rows that others measured on the same models and inputs; where both did, the board's own."""
    board = BOARDS[name]
    kind, group = kind_of(board), group_of(board)
    form: Form = "full" if group == "full" else "adapters"
    own = {row["name"]: row for row in comparison["rows"]}
    if name in UNSMOOTHED and "dc_merge" in own:
        # Measured before the method smoothed adapters by default.
        own["dc_merge none"] = own.pop("dc_merge")
    rows = [(row["name"], row) for other in more for row in other["rows"]] + list(own.items())
    rows = [(row, found) for row, found in rows if found["method"]["name"] not in WITH_INPUTS]
    if kind == "image" or form == "adapters":
        # No model moves a table of words, so that there is nothing for `rows` to merge.
        rows += [(f"{row} rows", found) for row, found in rows if f"{row} rows" in CANDIDATES]
    arms: dict[Arm, Figures] = {}
    for arm, figures in (one for row, found in rows if row in CANDIDATES for one in _arms(row, found)):
        if arm.scale in SCALES[form] and (arm not in arms or figures.test is not None):
            arms[arm] = figures
    best, best_name = max((score, row) for row, found in rows for score in _tests(found))
    validation = max(figure for _, found in rows for figure in found["validation"].values())
    tasks = len(comparison["seen"])
    return Scored(name, board.title, form, kind, group, f"{kind} {form}", tasks, arms, best, best_name, validation)


def _arms(name: str, row: Mapping[str, Any]) -> list[tuple[Arm, Figures]]:
    found = [(Arm(name, 1.0), Figures(_at(row["validation"], 1.0), row["at_one"]["mean"]))]
    half = row["at_best"]["mean"] if row["best_scale"] == HALF else row["rules"].get(HALF_RULE, {}).get("mean")
    found.append((Arm(name, HALF), Figures(_at(row["validation"], HALF), half)))
    ruled = row["rules"].get(AUTO_RULE, {})
    if ruled.get("mean") is not None:
        found.append((Arm(name, "auto"), Figures(_at(row["validation"], ruled["scale"]), ruled["mean"])))
    return found


def _tests(row: Mapping[str, Any]) -> list[float]:
    """The mean accuracies on test inputs at every scale that was scored there, the validated one too."""
    ruled = [rule["mean"] for rule in row["rules"].values() if rule.get("mean") is not None]
    return [row["at_one"]["mean"], row["at_best"]["mean"], *ruled]


def _at(curve: Mapping[str, float], scale: float) -> float | None:
    """The figure on validation inputs at a scale, on the straight line between its neighbours of the grid."""
    points = sorted((float(at), figure) for at, figure in curve.items())
    for (low, below), (high, above) in pairwise(points):
        if low <= scale <= high:
            return below + (above - below) * (scale - low) / (high - low)
    return None
