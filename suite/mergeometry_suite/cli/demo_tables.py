"""The demo's leaderboard on a terminal, in tables that fit 100 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergeometry.cli.show import plain
from mergeometry.progress import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mergeometry_suite.demo.leaderboard import Leaderboard


def print_tables(board: Leaderboard, target: Console) -> None:
    """Print how methods differ, the accuracy on each task, and what that says."""
    from mergeometry_suite.demo.sentences import findings

    target.print(methods_table(board))
    target.print(tasks_table(board))
    for sentence in findings(board):
        target.print(plain(sentence), soft_wrap=True)
    target.print(
        f"Scales were chosen on {board.texts['validation']} other texts; ± is the standard deviation over resampled "
        f"test texts. Took {duration(board.seconds)}.",
        soft_wrap=True,
    )


def methods_table(board: Leaderboard) -> Table:
    """One row per method: points of mean accuracy above the base, at scale 1 and at the validated scale."""
    from mergeometry_suite.demo.page import behind
    from mergeometry_suite.demo.sentences import points_of, signed

    assert board.above_base is not None
    table = _table(f"{len(board.tasks)} experts merged; points of mean accuracy on {board.texts['test']} test texts")
    behind_best = "behind\nthe best"
    at_one, at_best = ("at 1:\nabove base", behind_best), ("there:\nabove base", behind_best)
    for column in (*at_one, "scale", *at_best, "mean\n%", "s", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("experts", "", "", "", signed(board.above_base), "", _mean(board.experts))
    table.add_section()
    best = board.best_at_one()
    for row in board.rows:
        points = points_of(row)
        table.add_row(
            plain(row.name), signed(points.at_one), "best" if row is best else behind(points.behind_at_one),
            f"{row.best_scale:g}", signed(points.at_best),
            "best" if row is board.rows[0] else behind(points.behind_at_best), f"{100 * row.at_best.mean:.1f}",
            f"{row.seconds:.1f}", f"{row.peak_memory / 1e6:.0f}",
        )  # fmt: skip
    table.add_section()
    table.add_row("base", "", "", "", "0", "", _mean(board.base))
    return table


def tasks_table(board: Leaderboard) -> Table:
    """One row per method: test accuracy on each task at the validated scale."""
    table = _table("test accuracy in % on each task, at the validated scale")
    for task in board.tasks:
        table.add_column(task, justify="right", no_wrap=True)
    table.add_row("experts", *_each(board, board.experts))
    table.add_section()
    for row in board.rows:
        table.add_row(plain(row.name), *_each(board, row.at_best.accuracy))
    table.add_section()
    table.add_row("base", *_each(board, board.base))
    return table


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    return table


def _mean(accuracy: Mapping[str, float]) -> str:
    return f"{100 * sum(accuracy.values()) / len(accuracy):.1f}"


def _each(board: Leaderboard, accuracy: Mapping[str, float]) -> list[str]:
    return [f"{100 * accuracy[task]:.0f}" for task in board.tasks]
