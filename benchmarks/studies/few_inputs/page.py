"""Writes the curves over inputs into docs/learning.md, between its marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.few_inputs.points import (
    Point,
    accuracy,
    drawn_of,
    ends_of,
    families,
    is_curve,
    kind_of,
    name_of,
    picture_of,
    share_kept,
    trained_of,
    way_of,
)

COMMAND = "python -m benchmarks.studies.few_inputs"
_NAMED = 5
"""From so many tasks on, a table gives their number."""


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Replace the tables."""
    page.write_text(between(page.read_text("utf-8"), "few inputs", f"{table(results)}\n", COMMAND), "utf-8")


def table(results: Mapping[str, Any]) -> str:
    """A row per way to merge, a column per number of inputs, for each family of tasks; and the drawings of curves."""
    lines: list[str] = []
    for own in families(results["points"]):
        if any(point["count"] for point in own):
            lines += [*_of_family(own), ""]
        if is_curve(own):
            lines += [f"![Gain kept against unlabelled inputs per task](pictures/{picture_of(own)})", ""]
    told = f"`{COMMAND}`, {results['date']}; {results['machine']['cpu']}, one core that other work shared."
    return "\n".join([*lines, f"Test inputs; {told}"])


def _of_family(points: Sequence[Point]) -> list[str]:
    counts = sorted({point["count"] for point in points if point["count"]})
    ways = sorted({way_of(point) for point in points if point["count"]})
    inputs = "new inputs" if drawn_of(points[0]) == "new" else "inputs that the experts were trained on"
    tasks = points[0]["tasks"]
    kind = kind_of(points[0])
    named = ", ".join(tasks) if len(tasks) < _NAMED else f"{len(tasks)} {kind} tasks"
    head = [f"{named}: {inputs} per task", *map(str, counts), "processor minutes"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(counts) + 1)}"]
    for way in ways:
        own = [point for point in points if way_of(point) == way]
        cells = [_cell([point for point in own if point["count"] == count], points) for count in counts]
        lines.append(f"| {name_of(way)} | {' | '.join(cells)} | {_minutes(own)} |")
    free = [point for point in points if not point["count"]]
    if free:
        ends = [found for seed in _seeds(free) if (found := ends_of(points, seed))]
        base, experts = (mean(one[side] for one in ends) for side in (0, 1))
        arms = sorted({point["arm"] for point in free})
        without = [f"{arm} {_cell([one for one in free if one['arm'] == arm], points)}" for arm in arms]
        seeds = f" Mean and standard deviation of {len(_seeds(free))} training seeds." if len(_seeds(free)) > 1 else ""
        told = f"Without any input: base {base:.1f}, {', '.join(without)}; experts {experts:.1f}."
        lines += ["", f"{told} {points[0]['test']} test {kind}s per task.{seeds}"]
    return lines


def _seeds(points: Sequence[Point]) -> list[int]:
    return sorted({trained_of(point) for point in points})


def _cell(points: Sequence[Point], all_points: Sequence[Point]) -> str:
    """Mean accuracy over draws and experts, and the share that is kept of what those experts gain."""
    if not points:
        return ""
    values = [accuracy(point) for point in points]
    ends = [ends_of(all_points, trained_of(point)) for point in points]
    shares = [share_kept(value, own) for value, own in zip(values, ends, strict=True) if own]
    return _with_spread(values, 1) + (f" ({_with_spread(shares, 0)} %)" if shares else "")


def _with_spread(values: Sequence[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _minutes(points: Sequence[Point]) -> str:
    low, high = (f"{take(point['processor_seconds'] for point in points) / 60:.1f}" for take in (min, max))
    return low if low == high else f"{low} to {high}"
