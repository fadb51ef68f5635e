"""Writes the table into docs/synthetic.md, between its marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.pages.marks import between

KINDS = Path(__file__).parents[2] / "results" / "synthetic_kinds.json"
COMMAND = "python -m benchmarks.studies.synthetic"
NAMES = {
    "auto": "nothing: the merge that `auto` chooses",
    "made": "made inputs, by logits (the default)",
    "made, features": "made inputs, by features (`objective: distill`)",
    "read": "the tasks' own inputs, by features (`objective: distill`)",
    "read, logits": "the tasks' own inputs, by logits",
}


def write_page(results: Mapping[str, Any], page: Path) -> None:
    """Replace the tables: that of the boards, and that of the kinds of inputs, whose runs are kept and not repeated."""
    text = between(page.read_text("utf-8"), "synthetic", f"{table(results)}\n", COMMAND)
    page.write_text(between(text, "kinds", f"{kinds(json.loads(KINDS.read_text('utf-8')))}\n", COMMAND), "utf-8")


def kinds(results: Mapping[str, Any]) -> str:
    """A row per kind of inputs, the best first."""
    lines = ["| inputs | compared by | gain kept, % | agreement on held-out inputs, % |", "| --- | --- | ---: | ---: |"]
    for row in sorted(results["rows"], key=lambda row: -row["gain"]):
        shares = " → ".join(f"{100 * share:.1f}" for share in row["agreement"]) if row["objective"] else ""
        lines.append(f"| {row['inputs']} | {row['objective']} | {row['gain']:.0f} | {shares} |")
    return "\n".join(lines)


def table(results: Mapping[str, Any]) -> str:
    """A row per board, start and arm."""
    lines = [
        "| models | start | learned from | steps | gain kept, % | agreement with the experts on held-out inputs, % | "
        "processor minutes |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    points = results["points"]
    rows = {(point["board"], point["start"], point["arm"], point["steps"]) for point in points}
    order = list(NAMES)
    for board, start, arm, steps in sorted(rows, key=lambda row: (row[0], row[1], order.index(row[2]), row[3])):
        wanted = (board, start, arm, steps)
        own = [point for point in points if (point["board"], point["start"], point["arm"], point["steps"]) == wanted]
        lines.append(
            f"| {board} | {start} | {NAMES[arm]} | {'' if arm == 'auto' else steps} | {_spread(map(gain, own))} | "
            f"{_agreement(own)} | {mean(point['processor_seconds'] for point in own) / 60:.1f} |"
        )
    return "\n".join([*lines, "", f"Test inputs; `{COMMAND}`, {results['date']}; {results['machine']['cpu']}."])


def gain(point: Mapping[str, Any]) -> float:
    """The share of the experts' mean gain over the base that the merge has, in per cent."""
    base, experts, merged = (mean(each.values()) for each in (*_ends(point), point["accuracies"]))
    return 100 * (merged - base) / (experts - base)


def _ends(point: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
    return point["ends"]["base"], point["ends"]["experts"]


def _spread(values: Any) -> str:
    numbers = list(values)
    return f"{mean(numbers):.0f}" + (f" ± {stdev(numbers):.0f}" if len(numbers) > 1 else "")


def _agreement(points: Sequence[Mapping[str, Any]]) -> str:
    shares = [one for point in points for one in (point.get("learned") or {}).get("agreement", {}).values()]
    if not shares:
        return ""
    return " → ".join(f"{100 * mean(share[end] for share in shares):.1f}" for end in ("start", "kept"))
