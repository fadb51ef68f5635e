"""Writes the vision suite's table into docs/suites.md, between its marks, from the records beside its experts.

`python -m benchmarks.vision_page` rewrites the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.marks import between
from mergeometry.suite.vision.experts import SHIPPED, load_vision_expert
from mergeometry.suite.vision.tasks import VISION_TASKS

COMMAND = "python -m benchmarks.vision_page"
PAGE = Path(__file__).parents[1] / "docs" / "suites.md"


def with_table(page: str) -> str:
    """The page with its table as the records say."""
    return between(page, "vision", "\n".join(_rows()) + "\n", COMMAND)


def _rows() -> Iterator[str]:
    yield "| task | what is asked | classes | train / validation / test | base | expert | images from | licence |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
    ends: list[tuple[float, float]] = []
    for task in VISION_TASKS.values():
        if not (SHIPPED / task.name).is_dir():
            continue
        record = load_vision_expert(task.name).provenance
        base, expert = (100 * record["accuracy"][end]["test"] for end in ("base", "expert"))
        ends.append((base, expert))
        sizes = " / ".join(str(count) for count in record["data"]["images"].values())
        yield (
            f"| {task.name} | {task.title} | {len(task.classes)} | {sizes} | {base:.1f} | {expert:.1f} "
            f"| {task.source} | {task.licence} |"
        )
    base, expert = (sum(end) / len(ends) for end in zip(*ends, strict=True))
    yield f"| **mean** | | | | **{base:.1f}** | **{expert:.1f}** | | |"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
