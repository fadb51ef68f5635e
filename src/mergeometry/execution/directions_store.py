"""Decompositions in files of a folder, each under the digest of what it was computed from, and checked when read."""

from __future__ import annotations

import os
import secrets
import stat
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.digests import Hash, number_of
from mergeometry.plan import machine
from mergeometry.regular_files import read_regular
from mergeometry.sink.files import FileSystem
from mergeometry.sink.writer import tensor_bytes

ENDING, NOTE_ENDING, PARTIAL = ".directions", ".known", ".partial-"

_MAGIC = b"directions 1\n"
_DIGEST_BYTES = 32
_HEAD = struct.Struct(f"<{len(_MAGIC)}s{_DIGEST_BYTES}sI")
"""The format, the key, and how many matrices follow."""
_MATRIX = struct.Struct("<II?")
"""Rows, columns, and whether it lies column by column."""

_NUMBER = 8
"""Bytes of a number in float64."""

_MOST_MATRICES = 3

NOTE_BYTES = 1 << 20
"""Longest note read: a thousand models have a tenth of it."""


class DamagedError(Exception):
    """A file is not what its name says."""


@dataclass(frozen=True, slots=True)
class DirectionsStore:
    """A folder of decompositions, valid for one state of the code, its ``identity``, and for this machine's processor.

    A file holds its key and the digest of all its bytes: one that was cut, changed or renamed counts as damaged.
    """

    folder: Path
    identity: str

    def key(self, kind: str, sizes: Sequence[int], data: bytes | memoryview) -> str:
        """The key of what is computed from some bytes."""
        hashed = Hash()
        hashed.update(f"{self.identity} {processor()} {kind} {' '.join(map(str, sizes))}\n".encode())
        hashed.update(data)
        return number_of(hashed.digest)

    def has(self, key: str) -> bool:
        """Whether there is a file of this key."""
        return self._place(key, ENDING).is_file()

    def read(self, key: str, shapes: Sequence[tuple[int, int]]) -> list[Float[Tensor, "m n"]] | None:
        """The matrices under a key, None where there are none; ``shapes`` are their rows and their most columns.

        Raises:
            DamagedError: the file was changed, or is of other shapes.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._place(key, ENDING), flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(error.strerror) from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise DamagedError("it is not a regular file")
            matrices = _read(_Hashing(file.readinto), key, shapes, state.st_size)
            with suppress(OSError):  # which files are used decides which are removed first
                os.utime(descriptor)
        return matrices

    def write(self, key: str, matrices: Sequence[Float[Tensor, "m n"]]) -> None:
        """Keep matrices, each in one piece of memory by rows or by columns; a reader never sees part of them.

        Raises:
            OSError: the disk refuses them.
        """
        place, hashed = self._place(key, ENDING), Hash()
        turned = [not matrix.is_contiguous() for matrix in matrices]
        head = _HEAD.pack(_MAGIC, bytes.fromhex(key), len(matrices))
        head += b"".join(_MATRIX.pack(*matrix.shape, flat) for matrix, flat in zip(matrices, turned, strict=True))
        pieces = [head, *(tensor_bytes(m.mT if flat else m) for m, flat in zip(matrices, turned, strict=True))]

        def contents(write: Callable[[bytes | memoryview], None]) -> None:
            for piece in pieces:
                hashed.update(piece)
                write(piece)
            write(_raw(hashed))

        _write_whole(place, contents)

    def note(self, name: str, keys: Sequence[str]) -> None:
        """Note which keys belong to what a plan knows of a tensor.

        Raises:
            OSError: the disk refuses it.
        """
        place = self._place(name, NOTE_ENDING)
        _write_whole(place, lambda write: write("\n".join(keys).encode("ascii")))

    def noted(self, name: str) -> list[str]:
        """The keys under a note whose files are all there; none where one is not, or the note is damaged."""
        try:
            keys = read_regular(self._place(name, NOTE_ENDING), NOTE_BYTES).decode("ascii").split()
        except (OSError, ValueError):
            return []
        return keys if all(_is_key(key) and self.has(key) for key in keys) else []

    def used(self, name: str, keys: Sequence[str]) -> set[Path]:
        """Count a note and its files as used now, and return them."""
        places = {self._place(name, NOTE_ENDING), *(self._place(key, ENDING) for key in keys)}
        for place in places:
            with suppress(OSError):
                os.utime(place, follow_symlinks=False)
        return places

    def _place(self, key: str, ending: str) -> Path:
        return self.folder / key[:2] / f"{key}{ending}"


@cache
def processor() -> str:
    """The machine's processor, another of a cluster may have another; and the one that OpenBLAS is told to be on."""
    return " ".join(filter(None, (machine.processor(), os.environ.get("OPENBLAS_CORETYPE"))))


def _write_whole(place: Path, contents: Callable[[Callable[[bytes | memoryview], None]], None]) -> None:
    """Write a file that appears whole, or not at all."""
    files = FileSystem()
    place.parent.mkdir(mode=0o700, exist_ok=True)
    staged = place.with_name(f"{PARTIAL}{os.getpid()}-{secrets.token_hex(8)}")
    descriptor = files.open(staged, create=True)
    try:
        contents(partial(files.write, descriptor))
        files.replace(staged, place)
    except BaseException:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
        raise
    finally:
        files.close(descriptor)


class _Hashing:
    """Reads into memory that is there, and hashes what it has read."""

    def __init__(self, readinto: Callable[[memoryview], int | None]) -> None:
        self._readinto, self.hashed = readinto, Hash()

    def into(self, memory: memoryview) -> None:
        rest = memory
        while rest:
            count = self._readinto(rest)
            if not count:
                raise DamagedError("it ends early")
            rest = rest[count:]
        self.hashed.update(memory)

    def bytes(self, count: int) -> bytes:
        data = bytearray(count)
        self.into(memoryview(data))
        return bytes(data)


def _read(file: _Hashing, key: str, shapes: Sequence[tuple[int, int]], size: int) -> list[Tensor]:
    magic, named, count = _HEAD.unpack(file.bytes(_HEAD.size))
    if magic != _MAGIC or named.hex() != key or count != len(shapes) or count > _MOST_MATRICES:
        raise DamagedError("it begins otherwise")
    found = [_MATRIX.unpack(file.bytes(_MATRIX.size)) for _ in shapes]
    numbers = sum(rows * columns for rows, columns, _ in found)
    whole = _HEAD.size + count * _MATRIX.size + _NUMBER * numbers + _DIGEST_BYTES
    fits = all(
        rows == asked and columns <= most for (rows, columns, _), (asked, most) in zip(found, shapes, strict=True)
    )
    if not fits or whole != size:
        raise DamagedError("it is of another size")
    matrices = []
    for rows, columns, turned in found:
        shape = (columns, rows) if turned else (rows, columns)
        matrix = torch.empty(shape, dtype=torch.float64)
        file.into(tensor_bytes(matrix))
        matrices.append(matrix.mT if turned else matrix)
    expected = _raw(file.hashed)
    if file.bytes(_DIGEST_BYTES) != expected:
        raise DamagedError("its bytes have another digest")
    return matrices


def _raw(hashed: Hash) -> bytes:
    return bytes.fromhex(number_of(hashed.digest))


def _is_key(key: str) -> bool:
    return len(key) == 2 * _DIGEST_BYTES and all(digit in "0123456789abcdef" for digit in key)
