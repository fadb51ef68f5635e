"""The page of leaderboards, written from the kept comparisons alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import BESIDE
from benchmarks.studies.leaderboards.rows import UNSMOOTHED
from mergeometry.comparison.result import CompareRow, Comparison
from mergeometry.report.comparison import comparison_markdown
from mergeometry.report.curves import curves_svg

COMPARISON = TypeAdapter(Comparison)


def read(results: Path) -> dict[str, dict[str, Any]]:
    """The kept boards, in the order in which they are shown."""
    files = {name: results / f"{name}.json" for name in BOARDS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()}


def comparison_of(own: dict[str, Any]) -> Comparison:
    """The comparison that a kept board holds."""
    return COMPARISON.validate_python(own["comparison"])


def rows_of(name: str, found: Mapping[str, dict[str, Any]]) -> dict[str, CompareRow]:
    """A board's rows by name, with those of boards that have more methods on the same models and inputs."""
    rows = {row.name: row for row in comparison_of(found[name]).rows}
    if name in UNSMOOTHED and "dc_merge" in rows:
        rows["dc_merge none"] = rows.pop("dc_merge")
    for more in (f"{name}-{end}" for end in BESIDE if f"{name}-{end}" in found):
        rows = {row.name: row for row in comparison_of(found[more]).rows} | rows
    return rows


def written(found: dict[str, dict[str, Any]]) -> str:
    """A section for each board: what was asked, the table, the curves, and how it was measured."""
    parts = []
    for name, own in found.items():
        board, machine = BOARDS[name], own["machine"]
        versions = ", ".join(f"{package} {number}" for package, number in own["versions"].items())
        parts += [
            f"## {board.title}\n\n{board.question}\n",
            comparison_markdown(comparison_of(own)),
            f"![Accuracy on validation inputs along the scale](pictures/leaderboard-{name}.svg)\n",
            f"{own['date']}, commit {own['commit']}, `{own['command']}`. {machine['cpu']}, "
            f"{machine['cores']} cores, {machine['system']}; {versions}. Training seed {board.seed}. "
            "Seconds are of one core, which other work may have shared.\n",
        ]  # fmt: skip
    return "\n".join(parts)


def pictures(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """File names to the drawings of the boards."""
    return {f"leaderboard-{name}.svg": curves_svg(comparison_of(own)) + "\n" for name, own in found.items()}
