"""Opens files of an untrusted folder: only regular files, only inside the folder, and without waiting."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeometry.conventions.hub_cache import may_link_to
from mergeometry.errors import SourceError, printable
from mergeometry.sources.tensors import FileStamp

_LARGEST_READ = 1 << 26  # one call may not keep an interrupt waiting for gigabytes


@contextmanager
def naming_model(label: str) -> Iterator[None]:
    """Add the model's label to every source error of the block; any other failure of the disk becomes one."""
    try:
        yield
    except SourceError as error:
        error.model = error.model or label
        raise
    except OSError as error:
        raise SourceError(
            f"the operating system refuses: {error.strerror}", model=label, file=error.filename
        ) from error


def located(path: str | os.PathLike[str]) -> Path:
    """Return a model's absolute path, after checking that something is there.

    Raises:
        SourceError: nothing is there, or the name cannot be a path.
    """
    try:
        absolute = Path(path).absolute()
        absolute.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "give a local folder, a .safetensors file, or a model of the hub as owner/name or hf://name"
        raise SourceError(f"there is no model here: {reason}", file=path, hint=hint) from error
    return absolute


def stamp_of(descriptor: int) -> FileStamp:
    """Identify the content of an open file."""
    status = os.fstat(descriptor)
    return FileStamp(status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def opened(path: Path, folder: Path | None) -> Iterator[tuple[int, FileStamp]]:
    """Open a regular file for reading, as a descriptor and its stamp.

    With ``folder``, the file must lie in it after links are followed; a link of a hub cache into its own blobs is
    allowed. Pipes and devices are refused without waiting on them.

    Raises:
        SourceError: the file is missing, is not a regular file, or lies outside ``folder``.
    """
    target = path if folder is None else _inside(path, folder)
    descriptor = open_regular(target, shown=path, follow=folder is None)
    try:
        yield descriptor, stamp_of(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path, *, shown: Path | None = None, follow: bool = True) -> int:
    """Open a regular file and return its descriptor; SourceError for pipes, devices, folders and missing files."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    shown = shown or path
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"the file cannot be opened: {reason}", file=shown) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise SourceError(f"expected a regular file, got a {_kind(mode)}", file=shown)
    return descriptor


def read_exactly(descriptor: int, start: int, buffer: memoryview) -> int:
    """Fill the buffer from the file's bytes at ``start``; return how many were read, fewer only at the end."""
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done : done + _LARGEST_READ]], start + done)
        if count == 0:
            break
        done += count
    return done


def read_small(path: Path, folder: Path | None, limit: int, what: str) -> bytes:
    """Read a whole file that must not exceed ``limit`` bytes; SourceError if it does, or changes meanwhile."""
    with opened(path, folder) as (descriptor, stamp):
        if stamp.size > limit:
            raise SourceError(f"the {what} has {stamp.size:,} bytes; at most {limit:,} are read", file=path)
        content = bytearray(stamp.size)
        if read_exactly(descriptor, 0, memoryview(content)) != stamp.size:
            raise SourceError(f"the {what} was truncated while it was read", file=path)
    return bytes(content)


def _inside(path: Path, folder: Path) -> Path:
    if not path.is_symlink():
        return path
    try:
        target = path.resolve(strict=True)
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SourceError("the file is a link that leads nowhere", file=path) from error
    if may_link_to(root, target):
        return target
    raise SourceError(
        f"the file is a link that leaves the model's folder, to {printable(str(target))}",
        file=path,
        hint="copy the file into the folder, or give the folder it lies in as the model",
    )


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "pipe",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFSOCK: "socket",
        stat.S_IFLNK: "link",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")
