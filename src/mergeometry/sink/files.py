"""The one seam through which the sink changes the disk, so that tests can stop it at any operation."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_EXCHANGE = 2
_HERE = -100
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOSYS})
_READ_BYTES = 4 * 1024 * 1024


class FileSystem:
    """The operations on files that the sink is made of; each raises ``OSError`` as the system does."""

    def make_folder(self, path: Path) -> None:
        """Create one folder."""
        path.mkdir()

    def lock(self, path: Path) -> int:
        """Open and lock a file until the descriptor is closed; ``BlockingIOError`` if another process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def open(self, path: Path, *, create: bool = False, append: bool = False, direct: bool = False) -> int:
        """Open a file for writing; ``create``: it must not exist yet, ``direct``: whole blocks pass by the cache."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= (os.O_CREAT | os.O_EXCL if create else 0) | (os.O_APPEND if append else 0)
        flags |= getattr(os, "O_DIRECT", 0) if direct else 0  # macOS lacks it
        return os.open(path, flags, 0o666)

    def close(self, descriptor: int) -> None:
        """Close what ``open`` or ``lock`` returned."""
        os.close(descriptor)

    def allocate(self, descriptor: int, size: int) -> None:
        """Give a new file its size, with its blocks reserved where the file system can."""
        try:
            os.posix_fallocate(descriptor, 0, size)
        except AttributeError:  # macOS lacks it
            os.ftruncate(descriptor, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            os.ftruncate(descriptor, size)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to its first ``size`` bytes."""
        os.truncate(path, size)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of ``data`` at the descriptor's own position."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def write_at(self, descriptor: int, data: bytes | memoryview, start: int) -> None:
        """Write all of ``data`` from byte ``start`` of the file."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(descriptor, rest, start)
            rest, start = rest[written:], start + written

    def sync_file(self, path: Path) -> None:
        """Return once the file's bytes are on the disk, whichever process wrote them."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, path: Path) -> None:
        """Return once the folder's entries are on the disk, where the file system can tell."""
        try:
            _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise

    def rename(self, source: Path, target: Path) -> None:
        """Move a folder in one step; fails if something other than an empty folder is at ``target``.

        That is what rename(2) promises for folders on every POSIX system, so no flag is needed.
        """
        source.rename(target)

    def replace(self, source: Path, target: Path) -> None:
        """Move a file in one step, in place of the file at ``target`` if there is one."""
        source.replace(target)

    def exchange(self, first: Path, second: Path) -> None:
        """Swap two folders in one step; ``OSError`` with ``ENOSYS`` or ``EINVAL`` where that cannot be done."""
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "renameat2"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(first), None, str(second))
        if library.renameat2(_HERE, os.fsencode(first), _HERE, os.fsencode(second), ctypes.c_uint(_EXCHANGE)):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(first), None, str(second))

    def remove_file(self, path: Path) -> None:
        """Remove one file or link."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Remove one empty folder."""
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a file, a link, or a folder with everything in it; links are not followed."""
        if path.is_symlink() or not path.is_dir():
            self.remove_file(path)
            return
        for child in sorted(path.iterdir()):
            self.remove_tree(child)
        self.remove_folder(path)

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write on the file system of ``path``."""
        state = os.statvfs(path)
        return state.f_bavail * state.f_frsize


def unsupported(error: OSError) -> bool:
    """Whether an operation failed because this system or file system does not have it."""
    return error.errno in _UNSUPPORTED


def read_range(path: Path, start: int, count: int) -> Iterator[bytes]:
    """Yield ``count`` bytes of a file from ``start`` in pieces; fewer if the file ends earlier."""
    with path.open("rb", buffering=0) as file:
        while count and (piece := os.pread(file.fileno(), min(count, _READ_BYTES), start)):
            yield piece
            start, count = start + len(piece), count - len(piece)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        if full := getattr(fcntl, "F_FULLFSYNC", None):  # on macOS fsync stops at the drive's cache
            fcntl.fcntl(descriptor, full)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
