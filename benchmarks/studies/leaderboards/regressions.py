"""Regressions without data beside the merges of directions: the tables of docs/interference.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies.leaderboards import seeds
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.page import comparison_of, rows_of
from mergeometry.comparison.result import CompareRow, Figures
from mergeometry.report.comparison import kept

FROM_BOARDS = (
    "own_blocks", "dc_merge rows", "iso_cts rows", "tsv_m rows", "dc_merge", "iso_cts", "tsv_m", "wudi", "average",
)  # fmt: skip
"""Rows of the boards themselves that show how good the regressions are."""

Found = Mapping[str, dict[str, Any]]


def written(found: Found) -> str:
    """Gain kept at scale 1 and at the validated scale, board by board, the best at the latter first, and by seed."""
    parts = []
    for name in BOARDS:
        more = f"{name}-regressions"
        if name in found and more in found:
            measured = {row.name for row in comparison_of(found[more]).rows}
            shown = [row for key, row in rows_of(name, found).items() if key in measured or key in FROM_BOARDS]
            parts.append(f"{BOARDS[name].title}:\n\n{_table(shown)}")
            if name == seeds.FIRST and len(seeds.boards_of(found, more)) > 1:
                parts.append(f"The same by training seed:\n\n{seeds.written(found, more)}")
    return "\n".join(parts) or "No board has been measured yet.\n"


def _table(rows: list[CompareRow]) -> str:
    lines = ["| gain kept, % | at scale 1 | validated | scale |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| `{row.name}` | {_share(row.at_one)} | {_share(row.at_best)} | {row.best_scale:g} |"
        for row in sorted(rows, key=lambda row: -(row.at_best.gain_kept or 0))
    ]
    return "\n".join(lines) + "\n"


def _share(figures: Figures) -> str:
    return kept(figures.gain_kept, figures.spread)
