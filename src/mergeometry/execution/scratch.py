"""Temporary folders of a run: removed when it ends, or by the next run if it was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mergeometry.sink.files import FileSystem

_LOCK = "lock"


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder in ``parent`` whose name starts with ``prefix``; those that dead processes left are removed."""
    for old in left_folders(parent, prefix):
        shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    # The system drops the lock when this process dies, on whichever machine of a shared disk it runs.
    descriptor = None
    with suppress(OSError):  # a file system without locks: the process's number is all there is
        descriptor = FileSystem().lock(folder / _LOCK)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def left_folders(parent: Path, prefix: str) -> list[Path]:
    """The folders of that name whose processes are dead."""
    return [old for old in sorted(parent.glob(f"{_literal(prefix)}*")) if old.is_dir() and _is_left(old, prefix)]


def _is_left(folder: Path, prefix: str) -> bool:
    if not (folder / _LOCK).exists():
        # It may be about to be locked; or there are no locks.
        process = folder.name.removeprefix(prefix).partition("-")[0]
        return process.isdigit() and not _lives(int(process))
    try:
        os.close(FileSystem().lock(folder / _LOCK))
    except OSError:
        return False
    return True


def _literal(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
