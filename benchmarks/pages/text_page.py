"""Writes the text suite's table into docs/suites.md, between its marks, from the records of its experts.

`python -m benchmarks.pages.text_page` rewrites the page. Full fine-tunes, and adapters that do not ship, live in the
cache alone: what their records say is kept in `benchmarks/results`, which takes up those that this machine has trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.full_records import collect
from mergeometry_suite.command import SUITES, TASKS, TEXT_14, TEXT_20, load_expert, load_full_expert

COMMAND = "python -m benchmarks.pages.text_page"
PAGE = Path(__file__).parents[2] / "docs" / "suites.md"
FULL = Path(__file__).parents[1] / "results" / "text_full.json"
ADAPTERS = Path(__file__).parents[1] / "results" / "text_adapters.json"
MARKS = {"text-8": "", "text-14": " †", "text-20": " ‡"}
"""What marks the tasks that a suite adds to the one before."""


def records(kept: Path) -> dict[str, Any]:
    """The records of the suite's full fine-tunes, including those found on this machine."""
    return collect(kept, TASKS, lambda name: load_full_expert(name).provenance)


def adapter_records(kept: Path) -> dict[str, Any]:
    """The records of the adapters that do not ship, including those found on this machine."""
    return collect(kept, TEXT_20[len(TEXT_14) :], lambda name: load_expert(name).provenance)


def write(page: Path, full: Mapping[str, Any], adapters: Mapping[str, Any]) -> None:
    """Rewrite the table of the page."""
    table = "\n".join(_rows(full, adapters)) + "\n"
    page.write_text(between(page.read_text("utf-8"), "text", table, COMMAND), "utf-8")


def _rows(full: Mapping[str, Any], adapters: Mapping[str, Any]) -> Iterator[str]:
    yield ("| task | what is asked | classes | train / validation / test | base | LoRA | full | texts from | licence |")
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    for task in TASKS.values():
        adapter = load_expert(task.name).provenance if task.name in TEXT_14 else adapters.get(task.name)
        whole = full.get(task.name)
        record = adapter or whole
        scores = [_score(record, "base"), _score(adapter, "expert"), _score(whole, "expert")]
        sizes = " / ".join(f"{count:,}" for count in record["data"]["texts"].values()) if record else ""
        mark = next(mark for suite, mark in MARKS.items() if task.name in SUITES[suite])
        yield (
            f"| {task.name}{mark} | {task.title} | {len(task.classes)} | {sizes} | {' | '.join(scores)} "
            f"| {task.source} | {task.licence} |"
        )


def _score(record: Mapping[str, Any] | None, end: str) -> str:
    return f"{100 * record['accuracy'][end]['test']:.1f}" if record else ""


if __name__ == "__main__":
    write(PAGE, records(FULL), adapter_records(ADAPTERS))
