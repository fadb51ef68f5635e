"""Writes the curve over inputs into docs/learning.md, between its marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.pages.marks import between

COMMAND = "python -m benchmarks.studies.few_inputs"


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Replace the table."""
    page.write_text(between(page.read_text("utf-8"), "few inputs", f"{table(results)}\n", COMMAND), "utf-8")


def table(results: Mapping[str, Any]) -> str:
    """A row per way to merge, a column per number of inputs, for each family of tasks."""
    points = results["points"]
    lines: list[str] = []
    for tasks in sorted({tuple(point["tasks"]) for point in points}):
        own = [point for point in points if tuple(point["tasks"]) == tasks]
        lines += [*_of_family(own), ""]
    return "\n".join([*lines, f"Test texts; `{COMMAND}`, {results['date']}; {results['machine']['cpu']}."])


def _of_family(points: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = sorted({point["count"] for point in points if point["count"]})
    arms = sorted({point["arm"] for point in points if point["count"]})
    free = [point for point in points if not point["count"]]
    names = ", ".join(points[0]["tasks"])
    lines = [f"| {names}: inputs per task | {' | '.join(map(str, counts))} |", f"| --- |{' ---: |' * len(counts)}"]
    for arm in arms:
        cells = [_cell([p for p in points if p["arm"] == arm and p["count"] == count]) for count in counts]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    if free:
        shares = {point["arm"]: point["accuracies"] for point in free}
        shares = {"base": free[0]["ends"]["base"], **shares, "experts": free[0]["ends"]["experts"]}
        means = ", ".join(f"{name} {100 * mean(by_task.values()):.1f}" for name, by_task in shares.items())
        lines += ["", f"Without any input: {means}."]
    return lines


def _cell(points: Sequence[Mapping[str, Any]]) -> str:
    if not points:
        return ""
    values = [100 * mean(point["accuracies"].values()) for point in points]
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
