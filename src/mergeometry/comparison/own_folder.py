"""The folder of a comparison: only one that is new, empty, or that an earlier comparison filled is written to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mergeometry.sink.own_folder import has_keys
from mergeometry.sink.own_folder import refuse_foreign_folder as _refuse_foreign_folder

PAGES = ("comparison.json", "table.md", "curves.svg", "index.html")
RESULTS = "results"
SCRATCH = ".scratch-"
WITHOUT = "without"
"""Where the scores without each model are kept, one folder per model."""
_KEYS = frozenset({"measure", "rows", "experts"})
"""Some keys of a comparison.json of ours."""


def refuse_foreign_folder(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds what no comparison wrote.
    """
    _refuse_foreign_folder(output, inputs, _foreign, "comparison")


def _foreign(folder: Path) -> Iterator[str]:
    pages_are_ours = has_keys(folder / PAGES[0], _KEYS)
    for child in folder.iterdir():
        if child.name in PAGES:
            if not pages_are_ours:
                yield child.name
        elif child.name == RESULTS and child.is_dir():
            yield from (f"{RESULTS}/{inner.name}" for inner in child.iterdir() if not _is_result(inner))
        elif child.name == WITHOUT and child.is_dir():
            yield from (f"{WITHOUT}/{inner.name}" for inner in child.iterdir() if _is_other(inner))
        elif not (child.name.startswith(SCRATCH) or _is_staged(child.name)):
            yield child.name


def _is_other(inner: Path) -> bool:
    return not inner.is_dir() or any(_foreign(inner))


def _is_result(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".json" or path.name.startswith("."))


def _is_staged(name: str) -> bool:
    """Whether a killed run was about to put a page in its place."""
    return any(name.startswith(f".{page}.") and name.removeprefix(f".{page}.").isdigit() for page in PAGES)
