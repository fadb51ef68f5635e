"""How much better validation inputs look than test inputs, for the base, the experts and the merges of each board."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.overview import COLUMNS
from benchmarks.studies.leaderboards.page import comparison_of
from mergeometry.comparison.result import Comparison

_HIGH = "1"
_SENSIBLE = 0.2
"""Merges that keep less of the gain at scale 1 are left out: they are broken there, and say nothing about inputs."""


def written(found: Mapping[str, dict[str, Any]]) -> str:
    """Points of mean accuracy by which validation inputs are above test inputs."""
    head = ["board", "base", "experts", "merges at scale 1", "base less merges"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    gaps = {name: gap for name in COLUMNS if name in found and (gap := _gaps(comparison_of(found[name])))}
    for name, (base, experts, merges) in gaps.items():
        cells = [f"{value:+.1f}" for value in (base, experts, merges, base - merges)]
        lines.append(f"| {BOARDS[name].title} | {' | '.join(cells)} |")
    if gaps:
        cells = [f"{mean(values):+.1f}" for values in zip(*gaps.values(), strict=True)]
        cells.append(f"{mean(base - merges for base, _, merges in gaps.values()):+.1f}")
        lines.append(f"| *mean* | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _gaps(comparison: Comparison) -> tuple[float, float, float] | None:
    """Of the base, of the experts, and of merges at scale 1, validation less test in points."""
    rows = [row for row in comparison.rows if (row.at_one.gain_kept or 0) >= _SENSIBLE and _HIGH in row.validation]
    if not rows:
        return None
    merges = [row.validation[_HIGH] - row.at_one.mean for row in rows]
    return (
        100 * (comparison.base_validation - mean(comparison.base.values())),
        100 * (comparison.experts_validation - mean(comparison.experts.values())),
        100 * mean(merges),
    )
