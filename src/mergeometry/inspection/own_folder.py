"""Writes the page and the figures of an inspection, into a folder that is new or that an earlier one filled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergeometry.errors import OutputError, printable

FIGURES, PAGE = "inspection.json", "index.html"
_NAMES = frozenset({FIGURES, PAGE})
_KEYS = frozenset({"schema", "verdict", "totals"})
"""Some keys of an inspection.json of ours."""
_SHOWN = 10


def refuse_foreign_folder(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds what no inspection wrote.
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
    children = {child.name for child in place.iterdir()}
    foreign = sorted(children if children and not _is_ours(place / FIGURES) else children - _NAMES)
    if foreign:
        shown = ", ".join(map(printable, foreign[:_SHOWN]))
        more = f" and {len(foreign) - _SHOWN:,} more" if len(foreign) > _SHOWN else ""
        raise OutputError(
            f"the output holds what no inspection wrote: {shown}{more}",
            file=output,
            hint="give --output a new folder, or the folder of an earlier inspection",
        )


def write_files(output: Path, files: Mapping[str, str]) -> None:
    """Replace each file in one step, so that a reader never sees half of it.

    Raises:
        OutputError: the disk refuses them.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            staged = output / f".{name}.{os.getpid()}"
            try:
                staged.write_text(text, "utf-8")
                staged.replace(output / name)
            finally:
                staged.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"the page cannot be written: {error.strerror}", file=output) from error


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS
