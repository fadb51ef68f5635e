"""The first table of the page: every figure that has a goal, and ours against each peer, with where it is from."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.table import table
from benchmarks.speed.peer_commands import OURS

Result = Mapping[str, Any]

NOTE = """Every figure of this page that has a goal, and the seconds of each peer over ours: the median of all cells of
the grid, with the least and the largest. A row counts for the commit and the machine that it names; versions, runs and
their spread are in its section."""


def summary(results: Path, titles: Mapping[str, str]) -> Iterator[str]:
    """Lines of the summary, from all available results."""
    rows: list[Sequence[str]] = []
    for name, title in titles.items():
        if name == "peers":
            rows += _peers(sorted((results / name).glob("*.json")), title)
        elif (file := results / f"{name}.json").exists():
            result = json.loads(file.read_text())
            rows += [_goal(found, result, title) for found in result["goals"]]
    if rows:
        yield "## Summary\n"
        yield f"{NOTE}\n"
        yield from table(("section", "measure", "figure", "goal", "met", "commit", "date", "processor"), iter(rows))


def _goal(found: Result, result: Result, title: str) -> tuple[str, ...]:
    bound = "at least" if found["at_least"] else "at most"
    unit, met = found["unit"], "yes" if found["met"] else "**no**"
    figure, limit = figure_of(found), f"{bound} {found['limit']:g} {unit}"
    return short_title(title), found["goal"], figure, limit, met, *_from([result])


def _peers(files: Sequence[Path], title: str) -> Iterator[tuple[str, ...]]:
    cells = [json.loads(file.read_text()) for file in files]
    ratios: dict[str, list[tuple[float, Result]]] = {}
    for cell in cells:
        ours = cell["sides"][OURS]
        for tool, side in cell["sides"].items():
            if tool != OURS and side["ended"] == ours["ended"] == "done":
                ratios.setdefault(tool, []).append((side["wall_s"] / ours["wall_s"], cell))
    for tool, found in ratios.items():
        times = [ratio for ratio, _ in found]
        figure = f"{statistics.median(times):.3g} x ({min(times):.3g} .. {max(times):.3g}, {len(times)} cells)"
        ahead = "yes" if min(times) >= 1 else "**no**"
        origin = _from([cell for _, cell in found])
        yield short_title(title), f"{tool}'s seconds over ours", figure, "at least 1 in every cell", ahead, *origin


def figure_of(found: Result) -> str:
    """A goal's figure with its unit."""
    return f"{found['figure']:.3g} {found['unit']}"


def short_title(title: str) -> str:
    """A section's title up to its colon."""
    return title.partition(":")[0]


def _from(results: Sequence[Result]) -> tuple[str, str, str]:
    commits = dict.fromkeys(one["commit"] for one in results)
    dates = dict.fromkeys(one["date"] for one in results)
    processors = dict.fromkeys(one["machine"]["cpu"] for one in results)
    return ", ".join(commits), ", ".join(dates), ", ".join(processors)
