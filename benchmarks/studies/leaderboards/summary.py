"""The boards in a few columns: what the README says, and what each part of our own methods is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies.leaderboards import seeds
from benchmarks.studies.leaderboards.overview import told
from benchmarks.studies.leaderboards.page import comparison_of, rows_of
from mergeometry.comparison.result import Comparison, Figures
from mergeometry.report.comparison import kept

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

ABLATED = ("text-8-full", "text-14-full", "vision-6-full", "vision-full")
"""Boards that show it."""

SUMMARY = {
    "ct_merging rows": "no",
    "iso_cts rows": "no",
    "dc_merge rows": "no",
    "own_blocks": "no",
    "iso_cts": "no",
    "ct_merging": "no",
    "esm": "32 inputs per task",
    "iso_c": "no",
    "tsv_m rows": "no",
    "dc_merge": "no",
    "tsv_m": "no",
    "mda directions": "no",
    "regmean": "32 inputs per task",
    "average": "no",
    "ties": "no",
    "task_arithmetic": "no",
}
"""Rows of the README's table, and the data that each needs to merge."""

SUMMARISED = {"text-8-full": "8 text tasks", "text-14-full": "14 text tasks", "vision-6-full": "6 image tasks"}
"""Boards of the README's table, by their seeds where they have several."""

Columns = Mapping[str, Mapping[str, tuple[str, str]]]
"""The title of a pair of columns to their rows: the gain kept at scale 1, and at the validated scale."""


def ablation(found: Mapping[str, dict[str, Any]]) -> str:
    """Gain kept by each part of own_blocks."""
    columns = {name: _of(comparison_of(found[name])) for name in ABLATED if name in found}
    return _table(columns, ABLATION, "what it is")


def summary(found: Mapping[str, dict[str, Any]]) -> str:
    """Gain kept by the methods of the README on full fine-tunes."""
    columns: dict[str, Mapping[str, tuple[str, str]]] = {}
    for name, title in SUMMARISED.items():
        if name in found:
            count = len(seeds.boards_of(found, name))
            shares = told(name, rows_of(name, found), found)
            columns[f"{title}, {count} seeds" if count > 1 else title] = {
                row: (one.text, best.text) for row, (best, one) in shares.items()
            }
    return _table(columns, SUMMARY, "needs data")


def _of(comparison: Comparison) -> dict[str, tuple[str, str]]:
    def shown(figures: Figures) -> str:
        return kept(figures.gain_kept, figures.spread)

    return {row.name: (shown(row.at_one), shown(row.at_best)) for row in comparison.rows}


def _table(columns: Columns, rows: Mapping[str, str], note: str) -> str:
    head = ["gain kept, %", note, *(f"{title}: {at}" for title in columns for at in ("scale 1", "validated"))]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    for name, meaning in rows.items():
        cells = [cell for column in columns.values() for cell in column.get(name, ("–", "–"))]
        lines.append(f"| `{name}` | {meaning} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
