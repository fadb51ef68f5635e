"""Writes the page and the figures of an inspection, into a folder that is new or that an earlier one filled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.own_folder import has_keys
from mergeometry.sink.own_folder import refuse_foreign_folder as _refuse_foreign_folder
from mergeometry.sink.page import EVALUATION, FIGURES, PAGE, PAGE_FILES, page_folder

__all__ = ["EVALUATION", "FIGURES", "PAGE", "page_folder", "refuse_foreign_folder", "write_files"]

_KEYS = {FIGURES: frozenset({"schema", "verdict", "totals"}), EVALUATION: frozenset({"schema", "digest", "evaluation"})}
"""Some keys of the files of ours that tell a folder of ours."""


def refuse_foreign_folder(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds what no inspection wrote.
    """
    _refuse_foreign_folder(output, inputs, _foreign, "inspection")


def _foreign(folder: Path) -> set[str]:
    children = {child.name for child in folder.iterdir()}
    if FIGURES in children:
        return children - PAGE_FILES if has_keys(folder / FIGURES, _KEYS[FIGURES]) else children
    return children - {EVALUATION} if has_keys(folder / EVALUATION, _KEYS[EVALUATION]) else children


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
