"""What each model costs the others, in words."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.comparison.result import Comparison
from mergeometry.report.comparison import points


def left_out_sentences(comparison: Comparison) -> Iterator[str]:
    """A sentence per model whose absence changes the others by more than two standard deviations, by the first row."""
    if not comparison.left_out:
        return
    first = comparison.rows[0].name
    rows = sorted((one for one in comparison.left_out if one.method == first), key=lambda one: -one.gain)
    clear = [one for one in rows if abs(one.gain) > 2 * one.spread]
    for one in clear:
        more, amount = "more" if one.gain > 0 else "less", points(comparison, abs(one.gain))
        yield (
            f"Without {one.model} the others keep {amount} ± {points(comparison, one.spread)} {_unit(comparison)} "
            f"{more} by {first}."
        )
    if not clear:
        yield f"Without any one model the others change by less than two standard deviations, by {first}."


def _unit(comparison: Comparison) -> str:
    return "points of accuracy" if comparison.measure == "accuracy" else "nats of log-loss"
