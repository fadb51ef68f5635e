"""Every figure against what is lost, on each level at which the boards and the extra merges have scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.studies.calibration.correlation import Pairs

BEFORE = "before: "
"""What precedes the name of a model's figure before a merge."""

Board = Mapping[str, Any]
Table = tuple[np.ndarray, np.ndarray]


def lost(score: float, expert: float) -> float:
    """``-ln(score / expert)``: nats of its expert's score that a task lost, near the share lost where it is small."""
    return float(np.log(expert / max(score, 1e-6)))


def merges_of(board: Board) -> list[tuple[str, float]]:
    """The merges of a board: method and scale."""
    return list(dict.fromkeys((row["method"], row["scale"]) for row in board["rows"]))


def table_of(board: Board, figure: str) -> Table | None:
    """A figure and the loss, one row per merge and one column per task; None where the figure is not defined."""
    tasks, merges = list(board["experts"]), merges_of(board)
    values, losses = np.zeros((len(merges), len(tasks))), np.zeros((len(merges), len(tasks)))
    for row in board["rows"]:
        place = merges.index((row["method"], row["scale"])), tasks.index(row["task"])
        value = figure_of(board, row, figure)
        if value is None:
            return None
        values[place], losses[place] = value, lost(row["score"], board["experts"][row["task"]])
    return values, losses


def figure_of(board: Board, row: Mapping[str, Any], figure: str) -> float | None:
    """A figure of one task in one merge, or of its model before it."""
    if figure.startswith(BEFORE):
        return board["before"][row["task"]][figure.removeprefix(BEFORE)]
    return row["figures"][figure]


def tables_of(boards: Mapping[str, Board], figure: str) -> dict[str, Table]:
    """The tables of all boards on which the figure is defined."""
    tables = {name: table_of(board, figure) for name, board in boards.items()}
    return {name: table for name, table in tables.items() if table is not None}


def pairs_of(parts: Mapping[str, Board], figure: str) -> dict[str, Pairs]:
    """A figure of every two models of a board, and the mean loss of the two tasks in the sum of both.

    A figure of single models, such as their norm, is the mean of both.
    """
    found: dict[str, Pairs] = {}
    for name, part in parts.items():
        values = [_of_pair(part, row, figure) for row in part["rows"]]
        if None not in values:
            pairs = [(row["pair"][0], row["pair"][1]) for row in part["rows"]]
            found[name] = (pairs, np.array(values), losses_of_pairs(part))
    return found


def _of_pair(part: Board, row: Mapping[str, Any], figure: str) -> float | None:
    own = [part["before"][model].get(figure) for model in row["pair"]]
    return row["figures"].get(figure, None if None in own else float(np.mean(own)))


def layers_of(parts: Mapping[str, Board], figure: str) -> dict[str, Table]:
    """A figure of every layer, one row per task, and the loss where the merge's takes the place of the expert's."""
    found: dict[str, Table] = {}
    for name, part in parts.items():
        rows = [[row for row in part["rows"] if row["task"] == task] for task in part["experts"]]
        values = [[row["figures"].get(figure) for row in own] for own in rows]
        if not any(None in own for own in values):
            losses = [[lost(row["score"], part["experts"][row["task"]]) for row in own] for own in rows]
            found[name] = (np.array(values), np.array(losses))
    return found


def losses_of_pairs(part: Board) -> np.ndarray:
    """The mean loss of the two tasks of each pair."""
    return np.array(
        [np.mean([lost(score, part["experts"][task]) for task, score in row["scores"].items()]) for row in part["rows"]]
    )
