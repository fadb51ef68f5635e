"""``python -m benchmarks.speed.inspection_cost`` measures what an inspection and a page cost beside the merge."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import ROOT, Case, in_turn, say
from benchmarks.studies.calibration.boards import suite_folder

RESULT = ROOT / "benchmarks" / "results" / "inspection_cost.json"
PAGE = ROOT / "docs" / "reading-the-report.md"
NAME, COMMAND = "inspection cost", "python -m benchmarks.speed.inspection_cost"
WORK = ROOT / "benchmarks" / "scratch" / "inspection_cost"
METHODS = ("tsv_m", "ties")
MODELS = {"8 adapters": ("text-8-adapters", 8), "3 full fine-tunes": ("text-8-full", 3)}
ROUNDS = 3


def main() -> None:
    """Measure, keep the figures, and write them on the page of the documentation."""
    WORK.mkdir(parents=True, exist_ok=True)
    result = {**circumstances(), "rounds": ROUNDS, "models": {}}
    for name, (board, count) in MODELS.items():
        cases = _cases(name, board, count)
        in_turn(cases, ROUNDS, WORK)
        result["models"][name] = {case.name: _least(case) for case in cases}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    PAGE.write_text(between(PAGE.read_text("utf-8"), NAME, written(result), COMMAND), "utf-8")
    say(written(result))


def _cases(name: str, board: str, count: int) -> list[Case]:
    """One inspection, which is the same before every method, and each method's merge without and with its page."""
    recipe = json.loads((suite_folder(board) / "recipe.yaml").read_text("utf-8"))
    recipe["models"] = recipe["models"][:count]
    cases = []
    for method in METHODS:
        file = WORK / f"{board}-{method}.yaml"
        file.write_text(json.dumps({**recipe, "method": method}), "utf-8")
        if not cases:
            cases.append(_case(name, "inspect", "inspect", file))
        cases.append(_case(name, method, "merge", file, "--no-report"))
        cases.append(_case(name, f"{method} with its page", "merge", file))
    return cases


def _case(models: str, name: str, verb: str, recipe: Path, *more: str) -> Case:
    output = WORK / f"{models} {name}".replace(" ", "-")
    command = [sys.executable, "-m", "mergeometry", verb, str(recipe), "--output", str(output), "--workers", "1"]
    return Case(name, [*command, "--quiet", *more], output)


def _least(case: Case) -> dict[str, Any]:
    return {
        "seconds": min(run["user_s"] + run["system_s"] for run in case.runs),
        "peak_bytes": min(run["peak_bytes"] for run in case.runs),
        "runs": case.runs,
    }


def written(result: Mapping[str, Any]) -> str:
    """The figures as a table."""
    lines = ["| processor seconds, and peak memory | " + " | ".join(result["models"]) + " |"]
    lines.append("| --- |" + " ---: |" * len(result["models"]))
    for case in next(iter(result["models"].values())):
        name = "`mergeometry inspect`" if case == "inspect" else f"merge by {case}, no page"
        name = name.removesuffix(", no page") if "page" in case else name
        cells = [
            f"{own[case]['seconds']:.1f} s, {own[case]['peak_bytes'] / 1e6:,.0f} MB"
            for own in result["models"].values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    machine = result["machine"]
    lines += [
        "",
        f"Whole processes of one worker and one thread, the least of {result['rounds']} rounds in turn; models of 22 "
        f"million parameters; {machine['cpu']}, {machine['cores']} cores, load {machine['load_before']} before; "
        f"{result['date']}, commit {result['commit']}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
