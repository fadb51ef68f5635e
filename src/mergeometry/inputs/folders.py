"""Files below a folder, in an order that does not depend on the disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import DataError


def files_below(folder: Path, endings: Collection[str], what: str) -> list[Path]:
    """Return all files with one of the endings, in any subfolder, sorted by their places below the folder.

    Hidden files and folders are passed over, links to folders not followed. Raises DataError where there is no
    such file, too many, or a folder that cannot be read.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder, onerror=_refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            ending = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if ending in endings:
                found.append(Path(parent) / name)
            else:
                others[ending or "no ending"] += 1
        if len(found) > limits.DATA_ITEMS:
            raise DataError(f"There are more than {limits.DATA_ITEMS:,} files here.", file=folder)
    if not found:
        there = ", ".join(f"{count:,} with {ending}" for ending, count in others.most_common(5)) or "no files"
        raise DataError(f"The folder holds no {what} ({', '.join(sorted(endings))}); it holds {there}.", file=folder)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def is_folder(path: Path) -> bool:
    """Whether a folder is there; unlike `Path.is_dir`, no error where a folder above it is locked."""
    return os.path.isdir(path)  # noqa: PTH112


def _refused(error: OSError) -> None:
    raise DataError(f"The folder cannot be read: {error.strerror}.", file=error.filename) from error
