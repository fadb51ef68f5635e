"""What both pages show of a comparison: its table, its scale curves, and every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from mergeometry.report.comparison import figure, percent, points, summary
from mergeometry.report.curves import curves_svg

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison


@dataclass(frozen=True, slots=True)
class Board:
    """A comparison as a template shows it."""

    comparison: Comparison
    curves: Markup
    summary: Sequence[str]
    own: Sequence[str] = ()
    """The names of the rows that merge as the merge of the page does."""
    costs: bool = True
    """Whether seconds and memory are shown."""
    buttons: bool = False
    """Whether a script is there that saves tables."""

    def score(self, value: float) -> str:
        """An accuracy in percent, or a perplexity."""
        return figure(self.comparison, value)

    def points(self, value: float | None) -> str:
        """A difference of accuracies in points, or of log-losses in nats."""
        return points(self.comparison, value)

    def share(self, value: float | None) -> str:
        """A share in percent."""
        return percent(value)


def board_of(comparison: Comparison, *, own: Sequence[str] = (), costs: bool = True, buttons: bool = False) -> Board:
    """The parts of a comparison that a page shows."""
    # The drawing escapes what it is given; the page's style gives it the page's colours.
    curves = Markup(curves_svg(comparison))  # noqa: S704
    return Board(comparison, curves, summary(comparison), own, costs, buttons)
