"""Writes the text suite's table into docs/suites.md, between its marks, from the records beside its experts.

`python -m benchmarks.text_page` rewrites the page. Full fine-tunes live in the cache alone: what their records say
is kept in `benchmarks/results/text_full.json`, which takes up those that this machine has trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.marks import between
from mergeometry.suite.command import TASKS, TEXT_8, full_folder, load_expert, load_full_expert
from mergeometry.suite.full import is_complete_full

COMMAND = "python -m benchmarks.text_page"
PAGE = Path(__file__).parents[1] / "docs" / "suites.md"
FULL = Path(__file__).parent / "results" / "text_full.json"


def collect(kept: Path) -> dict[str, Any]:
    """Take up the records of all full fine-tunes in the cache, and return them with those kept before."""
    found = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    for name in TASKS:
        if is_complete_full(full_folder() / name):
            found[name] = load_full_expert(name).provenance
    ordered = {name: found[name] for name in TASKS if name in found}
    kept.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    return ordered


def write(page: Path, full: dict[str, Any]) -> None:
    """Rewrite the table of the page."""
    table = "\n".join(_rows(full)) + "\n"
    page.write_text(between(page.read_text("utf-8"), "text", table, COMMAND), "utf-8")


def _rows(full: dict[str, Any]) -> Iterator[str]:
    yield ("| task | what is asked | classes | train / validation / test | base | LoRA | full | texts from | licence |")
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    for task in TASKS.values():
        record = load_expert(task.name).provenance
        scores = [record["accuracy"][end]["test"] for end in ("base", "expert")]
        if task.name in full:
            scores.append(full[task.name]["accuracy"]["expert"]["test"])
        base, adapter, whole = [f"{100 * score:.1f}" for score in scores] + [""] * (3 - len(scores))
        sizes = " / ".join(f"{count:,}" for count in record["data"]["texts"].values())
        yield (
            f"| {task.name}{'' if task.name in TEXT_8 else ' †'} | {task.title} | {len(task.classes)} | {sizes} "
            f"| {base} | {adapter} | {whole} | {task.source} | {task.licence} |"
        )


if __name__ == "__main__":
    write(PAGE, collect(FULL))
