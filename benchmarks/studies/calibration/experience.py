"""What methods kept on every board of a kind of models: the experience that the verdict's advice rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.page import comparison_of, read
from benchmarks.studies.leaderboards.run import RESULTS as LEADERBOARDS
from mergeometry.comparison.result import CompareRow, Figures

KINDS = {
    "checkpoint": ("text-8-full", "text-8-full-seed-1", "text-8-full-seed-2", "text-14-full", "vision-6-full",
                   "vision-full"),
    "adapter": ("text-8-adapters", "vision"),
}  # fmt: skip
"""Kinds of models as an inspection names them, to the boards of that kind with the library's own methods."""

ROWS = " rows"
"""What the name of a row ends with whose tables are merged by `other: rows`."""

Boards = Mapping[str, Mapping[str, CompareRow]]


def experience() -> dict[str, Any]:
    """By kind of models: the advice, and what every method kept on the boards that have it."""
    found = read(LEADERBOARDS)
    result = {}
    for kind, names in KINDS.items():
        boards = {name: {row.name: row for row in comparison_of(found[name]).rows} for name in names}
        tasks = [len(comparison_of(found[name]).seen) for name in names]
        result[kind] = {
            "boards": len(names),
            "fewest_tasks": min(tasks),
            "most_tasks": max(tasks),
            "methods": {name: _kept(boards, name) for name in everywhere(boards)},
            "advice": advice(boards),
        }
    return result


def everywhere(boards: Boards) -> list[str]:
    """Methods that every board has and that merge without inputs."""
    first, *others = boards.values()
    return [
        name for name, row in first.items()
        if all(name in other for other in others) and set(row.method) == {"name"} and name not in BY_INPUTS
    ] + [name for name in first if name == "mda directions" and all(name in other for other in others)]  # fmt: skip


BY_INPUTS = ("regmean", "esm")


def advice(boards: Boards) -> dict[str, Any]:
    """The method that kept most of the gain on average over the boards, at scale 1 or at a validated scale.

    Its tables go by rows if that kept more on every board that has both.
    """
    best = max(
        ((name, at) for at in ("at_one", "at_best") for name in everywhere(boards)),
        key=lambda choice: fmean(gain_of(row[choice[0]], choice[1]) for row in boards.values()),
    )
    name, at = best
    both = [own for own in boards.values() if name in own and name + ROWS in own]
    rows = bool(both) and all(gain_of(own[name + ROWS], at) > gain_of(own[name], at) for own in both)
    shares = [share_of(own[name + ROWS * (rows and name + ROWS in own)], at) for own in boards.values()]
    scales = [own[name].best_scale for own in boards.values()] if at == "at_best" else [1.0]
    return {
        "method": name, "other": "rows" if rows else None, "validated": at == "at_best",
        "least_scale": min(scales), "largest_scale": max(scales), "low": min(shares), "high": max(shares),
    }  # fmt: skip


def gain_of(row: CompareRow, at: str) -> float:
    """Share of the experts' gain over the base that a row kept; a board without a gain counts nothing."""
    gain = _figures(row, at).gain_kept
    return 0.0 if gain is None else gain


def share_of(row: CompareRow, at: str) -> float:
    """Mean over the tasks of the merge's score over the expert's."""
    return _figures(row, at).normalised


def _figures(row: CompareRow, at: str) -> Figures:
    return row.at_one if at == "at_one" else row.at_best


def _kept(boards: Boards, name: str) -> dict[str, Any]:
    return {at: _range([share_of(own[name], at) for own in boards.values()]) for at in ("at_one", "at_best")}


def _range(shares: Sequence[float]) -> list[float]:
    return [min(shares), max(shares)]


def outside() -> dict[str, tuple[int, int]]:
    """Of each kind, how many boards lie outside the range of the boards of the other modality, and how many there are.

    It says what such a range is worth for models of another sort: by the advised method at its setting.
    """
    found = read(LEADERBOARDS)
    result = {}
    for kind, names in KINDS.items():
        boards = {name: {row.name: row for row in comparison_of(found[name]).rows} for name in names}
        advised = advice(boards)
        at = "at_best" if advised["validated"] else "at_one"
        shares = {name: share_of(own[advised["method"]], at) for name, own in boards.items()}
        missed = 0
        for name, share in shares.items():
            others = [own for other, own in shares.items() if _modality(other) != _modality(name)]
            missed += not min(others) <= share <= max(others)
        result[kind] = (missed, len(names))
    return result


def _modality(name: str) -> str:
    return BOARDS[name].suite.split("-")[0]
