"""A comparison as one HTML page that needs nothing else and runs no script; it looks like the page of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from mergeometry.grouping import grouped
from mergeometry.report.inspection import environment, page_style
from mergeometry.report.leaderboard import board_of
from mergeometry.report.left_out import left_out_rows, left_out_sentences
from mergeometry.report.policy import source_hash
from mergeometry.report.regret import least_regret, regret_tables

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison


def comparison_page(comparison: Comparison, version: str) -> str:
    """Draw tables and curves; every name is escaped, and the page can load and run nothing."""
    style = page_style()
    return environment().get_template("comparison.html.jinja").render(
        comparison=comparison, version=version, board=board_of(comparison), style=Markup(style),  # noqa: S704
        style_hash=source_hash(style), regrets=regret_tables(comparison), least_regret=least_regret(comparison),
        notes=grouped(comparison.notes), left_out=left_out_rows(comparison),
        left_out_words=list(left_out_sentences(comparison)),
    )  # fmt: skip
