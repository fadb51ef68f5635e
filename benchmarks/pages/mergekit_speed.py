"""The table of ``docs/coming-from-mergekit.md`` that says how much faster and smaller each merge is than mergekit's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.marks import between

COMMAND = "python -m benchmarks.speed llama"
_SECONDS, _MEMORY = ": mergekit's seconds over ours", ": mergekit's peak memory over ours"
_ONE = ", one worker"


def write_speed(page: Path, goals: Sequence[dict[str, Any]]) -> None:
    """Rewrite the table on the page.

    Raises:
        ValueError: the page has no marks for it.
    """
    page.write_text(with_speed(page.read_text("utf-8"), goals), "utf-8")


def with_speed(text: str, goals: Sequence[dict[str, Any]]) -> str:
    """The page's text with the table of these goals.

    Raises:
        ValueError: the page has no marks for it.
    """
    return between(text, "speed", "\n".join(_lines(goals)) + "\n", COMMAND)


def _lines(goals: Sequence[dict[str, Any]]) -> Iterator[str]:
    figures = {goal["goal"]: goal["figure"] for goal in goals}
    methods = [name.removesuffix(_SECONDS) for name in figures if name.endswith(_SECONDS) and _ONE not in name]
    yield "| method | times as fast | with one worker | mergekit's peak memory over ours | with one worker |"
    yield "| --- | --- | --- | --- | --- |"
    for method in methods:
        one, held = (figures.get(f"{method}{_ONE}{what}") for what in (_SECONDS, _MEMORY))
        cells = (figures[method + _SECONDS], one, figures[method + _MEMORY], held)
        yield f"| `{method}` | " + " | ".join("-" if cell is None else f"{cell:.1f}" for cell in cells) + " |"
