"""Writes long runs of bytes past the system's page cache: the disk takes them now, and `fsync` finds nothing to do.

What `fsync` would wait for after the merge is written while the merge computes. `benchmarks/speed/past_cache.py`
measures both ways.
"""

from __future__ import annotations

import mmap
import os

from mergeometry.sink.files import FileSystem, unsupported

BLOCK = mmap.PAGESIZE
"""What places in the file and in memory are multiples of; no disk asks for more."""

LEAST_BYTES = 1 << 20
"""Bytes below which the cache is quicker."""

_ROOM = 2 << 20
"""Bytes copied to an aligned place at a time."""


class PastCache:
    """Writes the whole blocks of a run of bytes directly, and the ends beside them through the cache."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._room: mmap.mmap | None = None
        self._refused = not hasattr(os, "O_DIRECT")

    def takes(self, count: int) -> bool:
        """Whether so many bytes are worth it here."""
        return count >= LEAST_BYTES and not self._refused

    def write(self, direct: int, cached: int, data: memoryview, start: int) -> None:
        """Write ``data`` from byte ``start`` of a file that is open in both ways.

        Raises:
            OSError: the disk is full or fails.
        """
        first = -start % BLOCK
        last = (start + len(data)) // BLOCK * BLOCK - start
        self._files.write_at(cached, data[:first], start)
        if self._room is None:
            self._room = mmap.mmap(-1, _ROOM)
        with memoryview(self._room) as room:
            for place in range(first, last, _ROOM):
                part = data[place : min(place + _ROOM, last)]
                with room[: len(part)] as aligned:
                    aligned[:] = part
                    self._write_block(direct, cached, aligned, start + place)
        self._files.write_at(cached, data[last:], start + last)

    def close(self) -> None:
        """Give the memory back."""
        if self._room is not None:
            self._room.close()
            self._room = None

    def refuse(self) -> None:
        """Take nothing from now on: the file system cannot."""
        self._refused = True

    def _write_block(self, direct: int, cached: int, aligned: memoryview, start: int) -> None:
        if not self._refused:
            try:
                self._files.write_at(direct, aligned, start)
            except OSError as error:
                if not unsupported(error):
                    raise
                self.refuse()
            else:
                return
        self._files.write_at(cached, aligned, start)
