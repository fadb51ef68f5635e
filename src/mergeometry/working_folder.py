"""The current folder, which somebody may have removed: absolute paths do without it."""

from __future__ import annotations

from pathlib import Path

from mergeometry.errors import MergeometryError


def folder_for(path: str) -> Path:
    """Return the folder that a path, or several joined by a plus, is relative to; the root if all are absolute.

    Raises:
        MergeometryError: a path is relative, and the current folder was removed.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        if all(part.startswith(("/", "~", "hf://")) for part in path.split("+")):
            return Path("/")
        raise MergeometryError(
            "the current folder was removed, so relative paths lead nowhere",
            file=path,
            hint="change into a folder that exists, or give absolute paths",
        ) from error
