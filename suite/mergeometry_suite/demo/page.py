"""The leaderboard as one HTML page that needs nothing else and runs no script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from mergeometry_suite.demo.leaderboard import Leaderboard


def leaderboard_page(board: Leaderboard, version: str) -> str:
    """Draw the leaderboard; every name in it is escaped, and the page may load and run nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry_suite.demo", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["whole"] = lambda share: f"{100 * share:.0f}"
    environment.filters["megabytes"] = lambda count: f"{count / 1e6:.0f}"
    # Bars begin at zero and end at the experts; a merge below the base has none.
    environment.filters["bar"] = lambda share: f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return environment.get_template("page.html.jinja").render(board=board, version=version)
