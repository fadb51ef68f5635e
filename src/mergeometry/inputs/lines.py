"""Lines of UTF-8 text from files that may be anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.sources.files import open_regular

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some programs write at the start of UTF-8 files."""


@contextmanager
def opened(path: Path, limit: int = limits.DATA_BYTES) -> Iterator[BinaryIO]:
    """Open a regular file of at most ``limit`` bytes; SourceError if it is missing or anything else."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DataError(
                f"the file has {size:,} bytes; at most {limit:,} are read",
                file=path,
                hint="a few thousand texts or images are enough: shorten it",
            )
        yield file


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line, from 1, and its bytes with the line's end; a byte order mark is left out.

    Raises:
        DataError: a line is too long, or nothing but line ends comes for a long time.
        SourceError: the file cannot be read.
    """
    with opened(path) as file:
        number = empty = 0
        while raw := file.readline(limits.TEXT_BYTES + 1):
            number += 1
            if len(raw) > limits.TEXT_BYTES:
                raise DataError(f"line {number:,} is longer than {limits.TEXT_BYTES:,} bytes", file=path)
            empty = empty + 1 if raw in (b"\n", b"\r\n") else 0
            if empty > limits.EMPTY_LINES:
                raise DataError(f"more than {empty - 1:,} empty lines follow each other, to line {number:,}", file=path)
            yield number, raw.removeprefix(MARK) if number == 1 else raw


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines as text with their ends; DataError if a line is not UTF-8."""
    for number, raw in raw_lines(path):
        yield number, decoded(raw, path, f"line {number:,}")


def decoded(raw: bytes, path: Path, what: str) -> str:
    """Return the bytes as text; DataError, which begins with ``what``, if they are not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"{what} is not UTF-8 (byte {error.start + 1:,} of it)"
        raise DataError(reason, file=path, hint="save the file as UTF-8") from error
