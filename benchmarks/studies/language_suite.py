"""The language model's six domains: perplexity, and what base, experts and merges write (docs/suites.md).

``python -m benchmarks.studies.language_suite`` goes on where it was interrupted: every row is kept as soon as it is
known, in benchmarks/results/language_suite.json. ``python -m benchmarks.studies.language_suite page`` rewrites the
page alone.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import mergeometry as mg
from benchmarks.pages.marks import between
from benchmarks.speed.machine import circumstances
from mergeometry.comparison.evaluate import Evaluation, evaluate
from mergeometry.comparison.tasks_file import TasksFile, load_tasks
from mergeometry_suite.comparison import write_suite
from mergeometry_suite.language_model.backbone import language_backbone
from mergeometry_suite.language_model.command import list_domains, load_language_expert

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "language_suite.json"
PAGE = ROOT / "docs" / "suites.md"
WORK = ROOT / "benchmarks" / "scratch" / "language_suite"
COMMAND = "python -m benchmarks.studies.language_suite"

TEXTS = 32
"""Test texts of each domain."""
MERGES: Mapping[str, dict[str, Any]] = {
    "tsv_m": {"method": "tsv_m", "scale": 0.75},
    "plain sum": {"method": "task_arithmetic", "scale": 1.0},
}
"""The scale that the page on language models validated on four of the domains; and all task vectors added up."""


def measure() -> dict[str, Any]:
    """Score the rows that are not saved yet."""
    found: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}
    if found.get("texts") != TEXTS:
        found = {"texts": TEXTS, "circumstances": circumstances(), "rows": {}}
    suite = write_suite("language-model", WORK / "suite", limit=TEXTS)
    tasks, recipe = load_tasks(suite / "tasks.yaml"), json.loads((suite / "recipe.yaml").read_text("utf-8"))
    for name in ("base", "own expert", *MERGES):
        if name in found["rows"]:
            continue
        if name == "base":
            row = _row([evaluate(language_backbone(), tasks, generate=True)])
        elif name == "own expert":
            row = _row([_expert(task.name, tasks) for task in tasks.tasks])
        else:
            folder = WORK / "merged"
            mg.merge({**recipe, **MERGES[name]}, folder, workers=1, overwrite=True)
            row = _row([evaluate(folder, tasks, generate=True)])
            shutil.rmtree(folder)
        found["rows"][name] = row
        RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        print(name, {task: round(one["perplexity"], 1) for task, one in row.items()}, file=sys.stderr, flush=True)
    return found


def _expert(task: str, tasks: TasksFile) -> Evaluation:
    own = TasksFile(tasks=tuple(one for one in tasks.tasks if one.name == task), encoder=tasks.encoder)
    return evaluate(load_language_expert(task).folder, own, language_backbone(), generate=True)


def _row(found: Sequence[Evaluation]) -> dict[str, Any]:
    told = [one.to_json() for one in found]
    return {
        task: {"perplexity": value, "spread": one["spread"][task], "generation": one["generation"][task]}
        for one in told
        for task, value in one["tasks"].items()
    }


def with_tables(page: str, found: Mapping[str, Any]) -> str:
    """The page with the tables of the result."""
    for name, rows in (("domains", _domains()), ("perplexities", _perplexities(found)), ("written", _written(found))):
        page = between(page, name, "\n".join(rows) + "\n", COMMAND)
    return page


def _domains() -> Iterator[str]:
    yield "| domain | texts | train / validation / test | base | expert | texts from | licence |"
    yield "| --- | --- | ---: | ---: | ---: | --- | --- |"
    for domain in list_domains():
        record = load_language_expert(domain.name).provenance
        base, expert = (record["perplexity"][end]["test"] for end in ("base", "expert"))
        sizes = " / ".join(f"{count:,}" for count in record["data"]["texts"].values())
        yield (
            f"| {domain.name} | {domain.title} | {sizes} | {base:.1f} | {expert:.1f} "
            f"| {domain.package.requirement} | {domain.package.licence} |"
        )


def _perplexities(found: Mapping[str, Any]) -> Iterator[str]:
    domains = list(found["rows"]["base"])
    yield f"| | {' | '.join(domains)} |"
    yield "| --- |" + " ---: |" * len(domains)
    for name, row in found["rows"].items():
        yield (
            f"| {name} | " + " | ".join(f"{row[d]['perplexity']:.1f} ± {row[d]['spread']:.1f}" for d in domains) + " |"
        )


def _written(found: Mapping[str, Any]) -> Iterator[str]:
    domains = list(found["rows"]["base"])
    yield f"| | {' | '.join(domains)} |"
    yield "| --- |" + " ---: |" * len(domains)
    checks = {name: {d: row[d]["generation"] for d in domains} for name, row in found["rows"].items()}
    for name, row in checks.items():
        yield f"| {name}: found | {' | '.join(_share(row[d]['found'], row[d]['spread']) for d in domains)} |"
    base = checks["base"]
    for kind in ("repeated", "distinct"):
        for name, row in checks.items():
            yield f"| {name}: {kind} | {' | '.join(_share(row[d]['written'][kind]) for d in domains)} |"
        yield f"| the texts: {kind} | {' | '.join(_share(base[d]['real'][kind]) for d in domains)} |"
    yield ""
    about = found["circumstances"]
    merges = "; ".join(f"{name}: {one['method']} at scale {one['scale']:g}" for name, one in MERGES.items())
    yield (
        f"In %, {found['texts']} test texts of each domain, {base[domains[0]]['prompts']} of them continued; {merges}. "
        f"{about['date']}, commit {about['commit']}, {about['machine']['cpu']}, torch {about['versions']['torch']}."
    )


def _share(value: float | None, spread: float | None = None) -> str:
    shown = "" if value is None else f"{100 * value:.1f}"
    return shown if spread is None else f"{shown} ± {100 * spread:.1f}"


def main(arguments: Sequence[str]) -> None:
    found = json.loads(RESULT.read_text("utf-8")) if list(arguments) == ["page"] else measure()
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
