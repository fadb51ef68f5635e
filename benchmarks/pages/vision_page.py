"""Writes the vision suite's table into docs/suites.md, between its marks, from the records of its experts.

`python -m benchmarks.pages.vision_page` rewrites the page. Full fine-tunes live in the cache alone: what their
records say is kept in `benchmarks/results/vision_full.json`, which takes up those that this machine has trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.full_records import collect
from mergeometry_suite.vision.experts import (
    SHIPPED,
    load_full_vision_expert,
    load_vision_expert,
)
from mergeometry_suite.vision.tasks import VISION_TASKS

COMMAND = "python -m benchmarks.pages.vision_page"
PAGE = Path(__file__).parents[2] / "docs" / "suites.md"
FULL = Path(__file__).parents[1] / "results" / "vision_full.json"


def records(kept: Path) -> dict[str, Any]:
    """The records of the suite's full fine-tunes, including those found on this machine."""
    return collect(kept, VISION_TASKS, lambda name: load_full_vision_expert(name).provenance)


def with_table(page: str, full: Mapping[str, Any]) -> str:
    """The page with the table of the records."""
    return between(page, "vision", "\n".join(_rows(full)) + "\n", COMMAND)


def _rows(full: Mapping[str, Any]) -> Iterator[str]:
    yield "| task | what is asked | classes | train / validation / test | base | LoRA | full | images from | licence |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    ends: list[tuple[float, ...]] = []
    for task in VISION_TASKS.values():
        if not (SHIPPED / task.name).is_dir():
            continue
        record = load_vision_expert(task.name).provenance
        scores = [record["accuracy"][end]["test"] for end in ("base", "expert")]
        if task.name in full:
            scores.append(full[task.name]["accuracy"]["expert"]["test"])
        ends.append(tuple(scores))
        sizes = " / ".join(str(count) for count in record["data"]["images"].values())
        yield (
            f"| {task.name} | {task.title} | {len(task.classes)} | {sizes} | {_cells(scores)} "
            f"| {task.source} | {task.licence} |"
        )
    # A mean over fewer tasks than its neighbours could not be compared with them.
    least = min(map(len, ends))
    whole = zip(*(own[:least] for own in ends), strict=True)
    yield f"| **mean** | | | | {_cells([sum(end) / len(end) for end in whole], '**')} | | |"


def _cells(scores: list[float], mark: str = "") -> str:
    return " | ".join([*(f"{mark}{100 * score:.1f}{mark}" for score in scores), *[""] * (3 - len(scores))])


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), records(FULL)), "utf-8")
