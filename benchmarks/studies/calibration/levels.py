"""Every figure against what is lost, on each level at which the boards and the extra merges have scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.studies.calibration.correlation import Correlation, over_columns, over_pairs_of, over_rows, within_rows

BEFORE = "before: "
"""What precedes the name of a model's figure before a merge."""

Board = Mapping[str, Any]
Table = tuple[np.ndarray, np.ndarray]


def lost(score: float, expert: float) -> float:
    """``-ln(score / expert)``: nats of its expert's score that a task lost, near the share lost where it is small."""
    return float(np.log(expert / max(score, 1e-3)))


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


def over_merges(boards: Sequence[Board], figure: str) -> Correlation | None:
    """Over the merges of a board: means over the tasks."""
    tables = [table for board in boards if (table := table_of(board, figure)) is not None]
    return over_rows(tables) if tables else None


def over_tasks(boards: Sequence[Board], figure: str) -> Correlation | None:
    """Over the tasks of one merge."""
    tables = [table for board in boards if (table := table_of(board, figure)) is not None]
    return over_columns(tables) if tables else None


def over_pairs(part: Board, figure: str) -> Correlation | None:
    """Over pairs of models: the mean loss of the two tasks in the sum of both."""
    rows = part["rows"]
    if any(row["figures"].get(figure) is None for row in rows):
        return None
    losses = [np.mean([lost(score, part["experts"][task]) for task, score in row["scores"].items()]) for row in rows]
    values = np.array([row["figures"][figure] for row in rows])
    return over_pairs_of([tuple(row["pair"]) for row in rows], values, np.array(losses))


def over_layers(part: Board, figure: str) -> Correlation | None:
    """Over the layers of one expert, each replaced by the merge's in turn; tasks are resampled."""
    rows = part["rows"]
    if any(row["figures"].get(figure) is None for row in rows):
        return None
    tasks = list(part["experts"])
    values = np.array([[row["figures"][figure] for row in rows if row["task"] == task] for task in tasks])
    losses = np.array(
        [[lost(row["score"], part["experts"][task]) for row in rows if row["task"] == task] for task in tasks]
    )
    return within_rows(values, losses)
