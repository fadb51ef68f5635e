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

    from mergeometry.report.left_out import left_out_rows

    table = Table(title="Without one model: what the others gain, in points of their mean", title_justify="left")
    table.add_column("left out")
    for row in comparison.rows:
        table.add_column(plain(row.name), justify="right")
    for model, shown in left_out_rows(comparison):
        table.add_row(plain(model), *shown)
    return table
