"""Writes the curves over inputs into docs/learning.md, between its marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.few_inputs.points import Point, accuracy, ends_of, families, is_curve, share_kept

COMMAND = "python -m benchmarks.studies.few_inputs"
PICTURE = "few-inputs.svg"


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Replace the tables."""
    page.write_text(between(page.read_text("utf-8"), "few inputs", f"{table(results)}\n", COMMAND), "utf-8")


def table(results: Mapping[str, Any]) -> str:
    """A row per way to merge, a column per number of inputs, for each family of tasks; the drawing of the largest."""
    lines: list[str] = []
    for own in families(results["points"]):
        lines += [*_of_family(own), ""]
    largest = families(results["points"])[-1]
    curve = [f"![Gain kept against unlabelled inputs per task](pictures/{PICTURE})", ""] if is_curve(largest) else []
    told = f"`{COMMAND}`, {results['date']}; {results['machine']['cpu']}, one core that other work shared."
    return "\n".join([*lines, *curve, f"Test texts; {told}"])


def _of_family(points: Sequence[Point]) -> list[str]:
    counts = sorted({point["count"] for point in points if point["count"]})
    arms = sorted({point["arm"] for point in points if point["count"]})
    ends = ends_of(points)
    head = [f"{', '.join(points[0]['tasks'])}: inputs per task", *map(str, counts), "processor minutes"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(counts) + 1)}"]
    for arm in arms:
        own = [point for point in points if point["arm"] == arm]
        cells = [_cell([point for point in own if point["count"] == count], ends) for count in counts]
        lines.append(f"| {_name(arm, own)} | {' | '.join(cells)} | {_minutes(own)} |")
    if ends:
        free = [point for point in points if not point["count"]]
        shown = [f"base {ends[0]:.1f}", *(f"{one['arm']} {_cell([one], ends)}" for one in free)]
        told = f"Without any input: {', '.join(shown)}; experts {ends[1]:.1f}. {points[0]['test']} test texts per task."
        lines += ["", told]
    return lines


def _name(arm: str, points: Sequence[Point]) -> str:
    steps = sorted({point["steps"] for point in points if "steps" in point})
    return f"{arm}, {' or '.join(map(str, steps))} steps" if steps else arm


def _cell(points: Sequence[Point], ends: tuple[float, float] | None) -> str:
    """Mean accuracy over the draws, and the share of the gain that is kept."""
    if not points:
        return ""
    values = [accuracy(point) for point in points]
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}" + (f" ({share_kept(mean(values), ends):.0f} %)" if ends else "")


def _minutes(points: Sequence[Point]) -> str:
    low, high = (f"{take(point['processor_seconds'] for point in points) / 60:.1f}" for take in (min, max))
    return low if low == high else f"{low} to {high}"
