"""What each model costs the others, as a table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeometry.cli.show import plain

if TYPE_CHECKING:
    from rich.table import Table

    from mergeometry.comparison.result import Comparison


def left_out_table(comparison: Comparison) -> Table:
    """One row per model and one column per method, the model that costs the others most first."""
    from rich.table import Table

    from mergeometry.report.comparison import points

    methods = [row.name for row in comparison.rows]
    cells = {(one.model, one.method): one for one in comparison.left_out}
    models = sorted(dict.fromkeys(one.model for one in comparison.left_out), key=lambda model: -max(
        one.gain for one in comparison.left_out if one.model == model
    ))  # fmt: skip
    table = Table(title="Without one model: what the others gain, in points of their mean", title_justify="left")
    table.add_column("left out")
    for method in methods:
        table.add_column(plain(method), justify="right")
    for model in models:
        row = [cells.get((model, method)) for method in methods]
        shown = [f"{points(comparison, one.gain)} ± {points(comparison, one.spread)}" if one else "" for one in row]
        table.add_row(plain(model), *shown)
    return table
