"""Turns the operating system's errors into errors that a person can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeometry.errors import OutputError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
_HINTS = {
    errno.ENOSPC: "free some space, or choose an output on another disk",
    errno.EDQUOT: "your disk quota is used up: free some space, or choose an output on another disk",
    errno.EFBIG: "a limit on file sizes is set (see `ulimit -f`): raise it, or set a smaller output.shard_size",
    errno.EACCES: "check the folder's permissions, or choose another output",
    errno.EPERM: "check the folder's permissions, or choose another output",
    errno.EROFS: "choose an output on a disk that can be written",
    errno.ENAMETOOLONG: "choose a shorter output name",
    errno.EBUSY: "the output is in use as a mount point: choose a folder inside it",
    errno.EIO: "the disk reports a failure: choose an output on another disk",
}

_INODES_HINT = "remove files that you do not need, or choose an output on another disk"


@contextmanager
def explained(what: str, file: Path, *, needed: int | None = None) -> Iterator[None]:
    """Raise ``OutputError`` in place of an ``OSError``, with the file, a hint, and the space needed and free."""
    try:
        yield
    except OSError as error:
        hint = _INODES_HINT if _lacks_inodes(error, file) else _HINTS.get(error.errno or 0)
        raise OutputError(f"{what}: {_reason(error, file, needed)}", file=file, hint=hint) from error


def readable_bytes(count: int) -> str:
    """Write a number of bytes for a person: ``5.2 GB``, powers of ten as disks are sold."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _reason(error: OSError, file: Path, needed: int | None) -> str:
    if _lacks_inodes(error, file):
        return "the file system has no inodes left, so it can hold no further file, however small"
    if error.errno in _NO_ROOM or error.errno == errno.EFBIG:
        start = "the disk is full" if error.errno in _NO_ROOM else "the file may not grow so large"
        wanted = "" if needed is None else f", {readable_bytes(needed)} needed"
        return f"{start}{wanted}, {readable_bytes(_free(file))} free"
    if error.errno in _TAKEN:
        return f"something else already exists at {error.filename2 or error.filename}"
    return error.strerror or str(error)


def _lacks_inodes(error: OSError, file: Path) -> bool:
    """Whether a disk is full of files rather than of bytes; file systems that make inodes as needed count none."""
    if error.errno != errno.ENOSPC:
        return False
    state = _state(file)
    return bool(state.f_files) and not state.f_favail


def _free(file: Path) -> int:
    state = _state(file)
    return state.f_bavail * state.f_frsize


def _state(file: Path) -> os.statvfs_result:
    place = file
    while not place.exists() and place != place.parent:
        place = place.parent
    return os.statvfs(place)
