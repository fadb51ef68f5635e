"""The folder of a comparison: only one that is new, empty, or that an earlier comparison filled is written to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mergeometry.errors import OutputError, printable

PAGES = ("comparison.json", "table.md", "curves.svg", "index.html")
RESULTS = "results"
SCRATCH = ".scratch-"
_SHOWN = 10
_KEYS = frozenset({"measure", "rows", "experts"})
"""Some keys of a comparison.json of ours."""


def refuse_foreign_folder(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds what no comparison wrote.
    """
    place = output.resolve()
    for source in inputs:
        if source.is_dir() and place.is_relative_to(source.resolve()):
            raise OutputError(
                "the output lies in the folder of an input, which stays as it is",
                file=output,
                hint=f"the input is {source}; choose an output outside of it",
            )
    if not place.is_dir():
        if place.exists():
            raise OutputError("the output exists and is not a folder", file=output, hint="choose another output")
        return
    if foreign := sorted(_foreign(place)):
        shown = ", ".join(map(printable, foreign[:_SHOWN]))
        more = f" and {len(foreign) - _SHOWN:,} more" if len(foreign) > _SHOWN else ""
        raise OutputError(
            f"the output holds what no comparison wrote: {shown}{more}",
            file=output,
            hint="give --output a new folder, or the folder of an earlier comparison",
        )


def _foreign(folder: Path) -> Iterator[str]:
    pages_are_ours = _is_comparison(folder / PAGES[0])
    for child in folder.iterdir():
        if child.name in PAGES:
            if not pages_are_ours:
                yield child.name
        elif child.name == RESULTS and child.is_dir():
            yield from (f"{RESULTS}/{inner.name}" for inner in child.iterdir() if not _is_result(inner))
        elif not (child.name.startswith(SCRATCH) or _is_staged(child.name)):
            yield child.name


def _is_result(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".json" or path.name.startswith("."))


def _is_staged(name: str) -> bool:
    """Whether a killed run was about to put a page in its place."""
    return any(name.startswith(f".{page}.") and name.removeprefix(f".{page}.").isdigit() for page in PAGES)


def _is_comparison(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS
