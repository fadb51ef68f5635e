"""What each model costs the others, in words and as a table."""

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


def left_out_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """What the others gain without each model, a cell for each method, the model that costs the others most first."""
    cells = {(one.model, one.method): one for one in comparison.left_out}
    most = {
        model: max(one.gain for one in comparison.left_out if one.model == model)
        for model in dict.fromkeys(one.model for one in comparison.left_out)
    }
    rows = []
    for model in sorted(most, key=lambda model: -most[model]):
        row = [cells.get((model, method.name)) for method in comparison.rows]
        shown = [f"{points(comparison, one.gain)} ± {points(comparison, one.spread)}" if one else "" for one in row]
        rows.append((model, shown))
    return rows


def _unit(comparison: Comparison) -> str:
    return "points of accuracy" if comparison.measure == "accuracy" else "nats of log-loss"
