"""Scores on labelled inputs as a section of a merge's page: the merge's own, and those of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeometry.comparison.kept import comparison_from, rows_of
from mergeometry.errors import printable
from mergeometry.report.leaderboard import Board, board_of


def board_section(document: Mapping[str, Any]) -> Board | None:
    """The comparison's tables, with the rows that merge as this merge does; None where no comparison was given."""
    content = document.get("comparison")
    if content is None:
        return None
    comparison = comparison_from(content)
    own = [row.name for row in rows_of(comparison, document["recipe"])]
    return board_of(comparison, own=own, costs=False, buttons=True)


def evaluation_section(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scores of this merge, as text; None where none were kept."""
    kept = document.get("evaluation")
    if kept is None:
        return None
    accuracy = kept["measure"] == "accuracy"

    def shown(value: float) -> str:
        return f"{100 * value:.1f}" if accuracy else f"{value:.2f}"

    return {
        "measure": kept["measure"],
        "file": kept.get("file") or "a file of tasks",
        "mean": shown(kept["mean"]),
        "inputs": sum(kept["inputs"].values()),
        "rows": [
            {"task": task, "inputs": kept["inputs"][task], "value": shown(value), "spread": shown(kept["spread"][task])}
            for task, value in kept["tasks"].items()
        ],
    }


def score_sheets(document: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """The leaderboard and the scale curves for a CSV, below the names of their columns."""
    content = document.get("comparison")
    if content is None:
        return {}
    comparison = comparison_from(content)
    head = ["method", "gain_kept", "spread", "behind", "behind_spread", f"mean_{comparison.measure}", "of_experts",
            "scale", "gain_kept_at_1", *comparison.seen]  # fmt: skip
    board: list[list[Any]] = [head]
    for row in comparison.rows:
        best = row.at_best
        board.append([
            row.name, best.gain_kept, best.spread, row.behind, row.behind_spread, best.mean, best.normalised,
            row.best_scale, row.at_one.gain_kept, *(best.tasks.get(task) for task in comparison.seen),
        ])  # fmt: skip
    scales = list(dict.fromkeys(scale for row in comparison.rows for scale in row.validation))
    curves: list[list[Any]] = [["method", *(f"scale {scale}" for scale in scales)]]
    curves += [[row.name, *(row.validation.get(scale) for scale in scales)] for row in comparison.rows]
    return {"leaderboard": _spelt(board), "scales": _spelt(curves)}


def _spelt(rows: list[list[Any]]) -> list[list[Any]]:
    return [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
