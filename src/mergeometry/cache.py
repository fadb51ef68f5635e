"""The one folder outside the project in which files are kept."""

from __future__ import annotations

import os
from pathlib import Path

from mergeometry.errors import MergeometryError

CHOOSE_HINT = "set MERGEOMETRY_CACHE to a folder that can be written"


def cache_folder() -> Path:
    """Return the folder that everything fetched or unpacked lives in: ``MERGEOMETRY_CACHE``, else the user's cache.

    Raises:
        MergeometryError: neither is set, and this user has no home.
    """
    try:
        if chosen := os.environ.get("MERGEOMETRY_CACHE"):
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "mergeometry"
    except RuntimeError as error:
        raise MergeometryError(f"there is no folder for a cache: {error}", hint=CHOOSE_HINT) from error


def made_in_cache(folder: Path) -> Path:
    """Make a folder of the cache, and those above it.

    Raises:
        MergeometryError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MergeometryError(
            f"nothing can be kept in the cache: {error.strerror}", file=folder, hint=CHOOSE_HINT
        ) from error
    return folder
