"""Files below a folder, in an order that does not depend on the disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import DataError


def files_below(folder: Path, endings: Collection[str], what: str) -> list[Path]:
    """Return all files with one of the endings, in any subfolder, sorted by their paths below the folder.

    Hidden files and folders are skipped, and links to folders are not followed.

    Raises:
        DataError: there is no such file, there are too many, or a folder cannot be read.
    """
    files: list[Path] = []
    others: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder, onerror=_refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if ending in endings:
                files.append(Path(parent) / name)
            else:
                others[ending or "no ending"] += 1
        if len(files) > limits.DATA_ITEMS:
            raise DataError(f"there are more than {limits.DATA_ITEMS:,} files here", file=folder)
    if not files:
        there = ", ".join(f"{count:,} with {ending}" for ending, count in others.most_common(5)) or "no files"
        raise DataError(f"the folder holds no {what} ({', '.join(sorted(endings))}); it holds {there}", file=folder)
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; unlike `Path.is_dir`, no error where a folder above it is locked."""
    return os.path.isdir(path)  # noqa: PTH112


def _refused(error: OSError) -> None:
    raise DataError(f"the folder cannot be read: {error.strerror}", file=error.filename) from error
