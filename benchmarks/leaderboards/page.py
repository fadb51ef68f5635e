"""The page of leaderboards, written from the kept comparisons alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.leaderboards.boards import BOARDS
from mergeometry.comparison.result import Comparison
from mergeometry.report.comparison import comparison_markdown, kept
from mergeometry.report.curves import curves_svg

COMPARISON = TypeAdapter(Comparison)


def read(results: Path) -> dict[str, dict[str, Any]]:
    """The kept boards, in the order in which they are shown."""
    files = {name: results / f"{name}.json" for name in BOARDS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()}


def comparison_of(own: dict[str, Any]) -> Comparison:
    """The comparison that a kept board holds."""
    return COMPARISON.validate_python(own["comparison"])


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


ABLATION = {
    "own_blocks": "own blocks of the shared basis, tables by rows",
    "own_blocks average": "the same, tables averaged",
    "tsv_m rows": "all of each task's values in the same basis, tables by rows",
    "tsv_m": "the same, tables averaged",
    "dc_merge rows": "DC-Merge's selection among the blocks, tables by rows",
    "dc_merge": "the same, tables averaged",
    "iso_cts rows": "Iso-CTS, tables by rows",
    "iso_cts": "the same, tables averaged",
}
"""Rows that show what each part of own_blocks is worth."""


SUMMARY = {
    "own_blocks": "no",
    "dc_merge rows": "no",
    "iso_cts rows": "no",
    "tsv_m rows": "no",
    "esm": "32 texts a task",
    "regmean": "32 texts a task",
    "iso_cts": "no",
    "dc_merge": "no",
    "tsv_m": "no",
    "mda directions": "no",
    "ties": "no",
    "average": "no",
    "task_arithmetic": "no",
}
"""Rows of the README's table, and the data that each needs to merge."""


def ablation(found: dict[str, dict[str, Any]]) -> str:
    """Gain kept by each part of own_blocks, on every board that has it."""
    names = [
        name for name, own in found.items()
        if "own_blocks" in {row["name"] for row in own["comparison"]["rows"]} and name != "unseen"
    ]  # fmt: skip
    return _shares({name: found[name] for name in names}, ABLATION, "what it is")


def summary(found: dict[str, dict[str, Any]]) -> str:
    """Gain kept by the methods of the README on full fine-tunes of texts."""
    names = [name for name in ("text-8-full", "text-14-full") if name in found]
    return _shares({name: found[name] for name in names}, SUMMARY, "needs data")


def _shares(found: dict[str, dict[str, Any]], rows: Mapping[str, str], said: str) -> str:
    """Gain kept at the validated scale and at scale 1, a column a board and scale."""
    boards = {name: {row.name: row for row in comparison_of(own).rows} for name, own in found.items()}
    head = ["gain kept, %", said, *(f"{name}{at}" for name in boards for at in ("", ", scale 1"))]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    for name, meaning in rows.items():
        cells = []
        for board in boards.values():
            row = board.get(name)
            cells += [kept(one.gain_kept, one.spread) for one in (row.at_best, row.at_one)] if row else ["–", "–"]
        lines.append(f"| `{name}` | {meaning} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
