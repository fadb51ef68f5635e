"""Writes the text suite's table into docs/suites.md, between its marks, from the records of its experts.

`python -m benchmarks.pages.text_page` rewrites the page. Full fine-tunes live in the cache alone: what their records
say is kept in `benchmarks/results/text_full.json`, which takes up those that this machine has trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.full_records import collect
from mergeometry_suite.command import TASKS, TEXT_8, load_expert, load_full_expert

COMMAND = "python -m benchmarks.pages.text_page"
PAGE = Path(__file__).parents[2] / "docs" / "suites.md"
FULL = Path(__file__).parents[1] / "results" / "text_full.json"


def records(kept: Path) -> dict[str, Any]:
    """The records of the suite's full fine-tunes, including those found on this machine."""
    return collect(kept, TASKS, lambda name: load_full_expert(name).provenance)


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
    write(PAGE, records(FULL))
