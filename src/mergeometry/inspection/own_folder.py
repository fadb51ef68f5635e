"""Writes the page and the figures of an inspection, into a folder that is new or that an earlier one filled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.own_folder import has_keys
from mergeometry.sink.own_folder import refuse_foreign_folder as _refuse_foreign_folder

FIGURES, PAGE = "inspection.json", "index.html"
_NAMES = frozenset({FIGURES, PAGE})
_KEYS = frozenset({"schema", "verdict", "totals"})
"""Some keys of an inspection.json of ours."""


def page_folder(output: Path) -> Path:
    """Where the page of a merge goes: beside its output."""
    return output.with_name(f"{output.resolve().name}-report")


def refuse_foreign_folder(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds what no inspection wrote.
    """
    _refuse_foreign_folder(output, inputs, _foreign, "inspection")


def _foreign(folder: Path) -> set[str]:
    children = {child.name for child in folder.iterdir()}
    return children - _NAMES if has_keys(folder / FIGURES, _KEYS) else children


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
