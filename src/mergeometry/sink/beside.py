"""A small file that appears whole, or not at all, outside of a staged folder."""

from __future__ import annotations

import os
from pathlib import Path

from mergeometry.sink.failures import explained


def write_beside(path: Path, data: bytes) -> None:
    """Write a file in one step.

    Raises:
        OutputError: the disk refuses.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with explained("the file cannot be written", path, needed=len(data)):
        try:
            staged.write_bytes(data)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
