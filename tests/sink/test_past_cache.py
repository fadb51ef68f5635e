"""Long runs of bytes go past the page cache, wherever they begin and end, and through it where that cannot be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from mergeometry.errors import OutputError
from mergeometry.sink import Slot, SlotWriter
from mergeometry.sink.files import FileSystem
from mergeometry.sink.past_cache import BLOCK, LEAST_BYTES

HEADER = 937


class Watched(FileSystem):
    """Counts the bytes that are written past the cache; with ``refused`` the disk takes none so."""

    def __init__(self, refused: str = "") -> None:
        self.direct: set[int] = set()
        self.past_cache = 0
        self.refused = refused

    def open(self, path: Path, *, create: bool = False, append: bool = False, direct: bool = False) -> int:
        if direct and self.refused == "open":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        descriptor = super().open(path, create=create, append=append, direct=direct and self.refused != "write")
        if direct:
            self.direct.add(descriptor)
        return descriptor

    def write_at(self, descriptor: int, data: bytes | memoryview, start: int) -> None:
        if descriptor in self.direct:
            if self.refused == "write":
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            assert start % BLOCK == len(data) % BLOCK == 0
            self.past_cache += len(data)
        super().write_at(descriptor, data, start)


def knows_a_way(path: Path) -> bool:
    """Whether the file system itself opens a file past the page cache."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_DIRECT", 0)))
    except OSError:
        return False
    return hasattr(os, "O_DIRECT")


def write(folder: Path, files: Watched, pieces: list[int]) -> tuple[bytes, bytes]:
    """Write a tensor in pieces of so many entries between two others; what was to be written, and what is there."""
    values = torch.arange(sum(pieces), dtype=torch.int64).to(torch.int16)
    size = HEADER + values.nbytes + HEADER
    (folder / "model.safetensors").write_bytes(b"\1" * size)
    slot = Slot("model.safetensors", HEADER, values.nbytes, "I16")
    with SlotWriter(folder, files=files) as writer:
        first = 0
        for piece in pieces:
            writer.write_range(slot, first, values[first : first + piece])
            first += piece
    ends = b"\1" * HEADER
    return ends + values.numpy().tobytes() + ends, (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("pieces", [[LEAST_BYTES], [LEAST_BYTES + 1, 3 * LEAST_BYTES - 7, 5]])
def test_the_file_holds_what_was_written(tmp_path: Path, pieces: list[int]) -> None:
    files = Watched()
    wanted, there = write(tmp_path, files, pieces)
    assert there == wanted
    least = 2 * sum(pieces) - 2 * BLOCK * len(pieces) if knows_a_way(tmp_path / "any") else 0
    assert bool(files.past_cache) == bool(least) and files.past_cache >= least


@pytest.mark.parametrize("refused", ["open", "write"])
def test_a_file_system_that_cannot_gets_all_through_the_cache(tmp_path: Path, refused: str) -> None:
    files = Watched(refused)
    wanted, there = write(tmp_path, files, [LEAST_BYTES, LEAST_BYTES])
    assert there == wanted and not files.past_cache and len(files.direct) <= 1


def test_a_disk_that_fails_is_not_taken_for_one_that_cannot(tmp_path: Path) -> None:
    class Full(Watched):
        def write_at(self, descriptor: int, data: bytes | memoryview, start: int) -> None:
            if descriptor in self.direct:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write_at(descriptor, data, start)

    with pytest.raises(OutputError, match=r"model\.safetensors"):
        write(tmp_path, Full(), [LEAST_BYTES])


def test_short_runs_go_through_the_cache(tmp_path: Path) -> None:
    files = Watched()
    wanted, there = write(tmp_path, files, [LEAST_BYTES // 4] * 3)
    assert there == wanted and not files.direct
