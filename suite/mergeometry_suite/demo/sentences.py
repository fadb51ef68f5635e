"""What the demo found, in sentences that its page and the terminal share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mergeometry_suite.demo.leaderboard import Difference, Leaderboard, Points, Row


def findings(board: Leaderboard) -> list[str]:
    """Which methods can be told apart at scale 1 and at the validated scale, and what choosing the scale is worth."""
    best = board.best_at_one()
    moved = max(board.rows, key=lambda row: points_of(row).at_best.value - points_of(row).at_one.value)
    return [
        f"At scale 1, which needs no labels, {_found(best, board.rows, lambda points: points.behind_at_one)}",
        "At the scale that validation chose, "
        + _found(board.rows[0], board.rows, lambda points: points.behind_at_best),
        f"Choosing the scale is worth most to {moved.name}: {signed(points_of(moved).at_one)} points against the base "
        f"at scale 1, {signed(points_of(moved).at_best)} at {moved.best_scale:g}.",
        "More test texts (--all-texts) tell more methods apart; full fine-tunes differ more than these adapters "
        "(docs/leaderboards.md).",
    ]


def signed(difference: Difference) -> str:
    """Points of accuracy with their sign and their spread."""
    return f"{100 * difference.value:+.1f} ± {100 * difference.spread:.1f}"


def points_of(row: Row) -> Points:
    """The row's differences, which every board that was just made has."""
    assert row.points is not None
    return row.points


def _found(best: Row, rows: Sequence[Row], behind: Callable[[Points], Difference]) -> str:
    clear = [row.name for row in rows if behind(points_of(row)).is_clear]
    close = [row.name for row in rows if row is not best and row.name not in clear]
    told = f"clearly behind it (two ±): {', '.join(clear)}" if clear else "no method is clearly behind it"
    rest = f"; not told apart from it: {', '.join(close)}" if close else ""
    return f"{best.name} has the highest mean accuracy; {told}{rest}."
