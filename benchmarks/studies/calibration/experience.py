"""What methods kept on every board of a kind of models: the experience that the verdict's advice names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.studies.leaderboards.page import comparison_of, read
from benchmarks.studies.leaderboards.run import RESULTS as LEADERBOARDS
from benchmarks.studies.method_choice.arms import read as read_arms
from mergeometry.comparison.result import CompareRow, Figures
from mergeometry.plan.choice_of_method import FITTED, Group

KINDS = {
    "checkpoint": ("text-8-full", "text-8-full-seed-1", "text-8-full-seed-2", "text-14-full", "vision-6-full",
                   "vision-full"),
    "adapter": ("text-8-adapters", "vision"),
}  # fmt: skip
"""Kinds of models as an inspection names them, to the boards of that kind with the library's own methods."""

Boards = Mapping[str, Mapping[str, CompareRow]]


def experience() -> dict[str, dict[str, Any]]:
    """By kind of models: what every method kept on the boards."""
    found = read(LEADERBOARDS)
    result = {}
    for kind, names in KINDS.items():
        boards = {name: {row.name: row for row in comparison_of(found[name]).rows} for name in names}
        result[kind] = {name: _kept(boards, name) for name in everywhere(boards)}
    return result


def everywhere(boards: Boards) -> list[str]:
    """Methods that every board has and that merge without inputs."""
    first, *others = boards.values()
    return [
        name for name, row in first.items()
        if all(name in other for other in others) and set(row.method) == {"name"} and name not in BY_INPUTS
    ] + [name for name in first if name == "mda directions" and all(name in other for other in others)]  # fmt: skip


BY_INPUTS = ("regmean", "esm")


def kept_by_auto() -> dict[Group, dict[str, Any]]:
    """What the fitted merges of `method: auto` kept of the experts' mean score, on every board that scored them."""
    shares: dict[Group, list[tuple[float, int]]] = {}
    for name, board in read_arms(LEADERBOARDS).items():
        own = next((own.test for arm, own in board.arms.items() if arm.merge == FITTED[board.group]), None)
        if own is not None:
            experts = json.loads((LEADERBOARDS / f"{name}.json").read_text("utf-8"))["comparison"]["experts"]
            shares.setdefault(board.group, []).append((own / fmean(experts.values()), board.tasks))
    return {
        group: {
            "low": min(share for share, _ in kept), "high": max(share for share, _ in kept), "boards": len(kept),
            "fewest_tasks": min(tasks for _, tasks in kept), "most_tasks": max(tasks for _, tasks in kept),
        }
        for group, kept in shares.items()
    }  # fmt: skip


def share_of(row: CompareRow, at: str) -> float:
    """Mean over the tasks of the merge's score over the expert's."""
    return _figures(row, at).normalised


def _figures(row: CompareRow, at: str) -> Figures:
    return row.at_one if at == "at_one" else row.at_best


def _kept(boards: Boards, name: str) -> dict[str, Any]:
    return {at: _range([share_of(own[name], at) for own in boards.values()]) for at in ("at_one", "at_best")}


def _range(shares: Sequence[float]) -> list[float]:
    return [min(shares), max(shares)]
