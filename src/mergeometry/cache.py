"""The one folder outside the project in which files are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that everything fetched or unpacked lives in: ``MERGEOMETRY_CACHE``, else the user's cache."""
    if chosen := os.environ.get("MERGEOMETRY_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "mergeometry"
