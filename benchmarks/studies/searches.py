"""What labels gain over a rule: ``python -m benchmarks.studies.searches SUITE WORK`` writes result and table.

SUITE is the folder of ``mergeometry suite tasks --suite text-8 --limit 50 --output SUITE``. Validation inputs choose,
test inputs report. ``python -m benchmarks.studies.searches`` writes the table of docs/search.md again from the result.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mergeometry as mg
from benchmarks.pages.marks import between
from mergeometry.comparison.tasks_file import load_tasks

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "searches.json"
PAGE = ROOT / "docs" / "search.md"
NAME, COMMAND = "searches", "python -m benchmarks.studies.searches"

METHODS = ("ties", "own_blocks")
SEARCHED = "ties"
GRID = [0.25, 2.5, 0.25]
TRIALS = 12


def main() -> None:
    """Measure where a suite is given; write the table."""
    if len(sys.argv) == 3:
        found = measured(Path(sys.argv[1]), Path(sys.argv[2]))
        RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    elif len(sys.argv) != 1:
        sys.exit(f"usage: {COMMAND} [SUITE WORK]")
    PAGE.write_text(on_page(PAGE.read_text("utf-8"), json.loads(RESULT.read_text("utf-8"))), "utf-8")


def measured(suite: Path, work: Path) -> dict[str, Any]:
    """Every method by rule and by grid, and one by a search; base and experts beside them."""
    work.mkdir(parents=True, exist_ok=True)
    recipe, tasks = json.loads((suite / "recipe.yaml").read_text("utf-8")), str(suite / "tasks.yaml")
    ways: dict[str, dict[str, Any]] = {"auto": {"scale": "auto"}, "grid": {"scale": {"grid": GRID, "tasks": tasks}}}
    rows = [
        _row({**recipe, "method": method, **keys}, method, way, tasks, work)
        for method in METHODS
        for way, keys in ways.items()
    ]
    section = {"tasks": tasks, "trials": TRIALS, "weights": [0.2, 2.0], "scale": {"range": [0.1, 3.0], "layers": 3}}
    asked = {**recipe, "method": SEARCHED, "scale": "auto", "search": section}
    rows.append(_row(asked, SEARCHED, "search", tasks, work))
    base = mg.evaluate(recipe["base"], tasks)
    experts = [
        mg.evaluate(model["path"], _alone(tasks, model["name"]), base=recipe["base"]).mean for model in recipe["models"]
    ]
    return {
        "suite": "text-8",
        "inputs": base.inputs,
        "grid": GRID,
        "trials": TRIALS,
        "base": base.mean,
        "experts": sum(experts) / len(experts),
        "rows": rows,
    }


def _row(recipe: Mapping[str, Any], method: str, way: str, tasks: str, work: Path) -> dict[str, Any]:
    before = _processor_seconds()
    run = mg.merge(recipe, work / f"{method}-{way}", workers=1, overwrite=True)
    seconds = _processor_seconds() - before
    search = run.search
    row: dict[str, Any] = {"method": method, "way": way, "seconds": seconds}
    if search is not None and "trials" in search:
        scores = [one["score"] for one in search["trials"]]
        row |= {
            "validation": max(scores),
            "chosen": search["chosen"],
            "values": search["trials"][search["chosen"]]["values"],
        }
    elif search is not None:
        row |= {"validation": max(search["validation"].values()), "scale": search["scale"]}
    elif run.scaling is not None:
        row |= {"scale": run.scaling["median"]}
    row["test"] = mg.evaluate(work / f"{method}-{way}", tasks).mean
    print(json.dumps(row), flush=True)
    return row


def _alone(tasks: str, name: str) -> dict[str, Any]:
    """A tasks file with one task."""
    given = load_tasks(tasks)
    return given.model_copy(update={"tasks": tuple(task for task in given.tasks if task.name == name)}).model_dump()


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def on_page(page: str, found: Mapping[str, Any]) -> str:
    """The page with the table of a result."""
    return between(page, NAME, written(found), COMMAND)


def written(found: Mapping[str, Any]) -> str:
    """Each method by rule, by grid and by search."""
    words = {"auto": "`scale: auto`, no labels", "grid": "grid", "search": f"search, {found['trials']} trials"}
    lines = [
        "| method | chosen by | scale | validation accuracy, % | test accuracy, % | gain kept, % | processor minutes |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lower, upper = found["base"], found["experts"]
    for row in found["rows"]:
        scale = f"{row['scale']:.2f}" if "scale" in row else "by model and layers"
        validation = f"{100 * row['validation']:.1f}" if "validation" in row else ""
        kept = 100 * (row["test"] - lower) / (upper - lower)
        lines.append(
            f"| `{row['method']}` | {words[row['way']]} | {scale} | {validation} | {100 * row['test']:.1f} "
            f"| {kept:.0f} | {row['seconds'] / 60:.1f} |"
        )
    count = sum(found["inputs"].values())
    spread = 100 * math.sqrt(upper * (1 - upper) / count)
    tail = (
        f"The base has {100 * lower:.1f} % on these {count} test texts, each expert on its own task "
        f"{100 * upper:.1f} %; one\nstandard deviation of such a mean is {spread:.1f} points.\n"
    )
    return "\n".join(lines) + "\n\n" + tail


if __name__ == "__main__":
    main()
