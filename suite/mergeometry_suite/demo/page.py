"""The leaderboard as one HTML page that needs nothing else and runs no script."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from mergeometry_suite.demo.intervals import intervals_svg
from mergeometry_suite.demo.leaderboard import Difference, Leaderboard
from mergeometry_suite.demo.sentences import findings, signed

_WIDE, _NARROW = 900, 360


def leaderboard_page(board: Leaderboard, version: str, took: str, commands: Sequence[str]) -> str:
    """Draw the leaderboard, with ``commands`` to run next; names are escaped, and the page may load and run nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry_suite.demo", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["megabytes"] = lambda count: f"{count / 1e6:.0f}"
    environment.filters["signed"] = lambda value: _figure(signed(value))
    environment.filters["behind"] = lambda value: _figure(behind(value))
    # The drawings escape what they are given, as this page does.
    wide, narrow = (Markup(intervals_svg(board, width)) for width in (_WIDE, _NARROW))  # noqa: S704
    return environment.get_template("page.html.jinja").render(
        board=board, version=version, took=took, commands=commands, findings=findings(board),
        best_at_one=board.best_at_one(), wide=wide, narrow=narrow,
    )  # fmt: skip


def behind(difference: Difference) -> str:
    """Points behind another row, with their spread."""
    return f"{100 * difference.value:.1f} ± {100 * difference.spread:.1f}"


def _figure(text: str) -> Markup:
    value, _, spread = text.partition(" ")
    return Markup("{} <small>{}</small>").format(value, spread)
