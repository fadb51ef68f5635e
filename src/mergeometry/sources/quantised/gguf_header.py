"""A strict reader of the header of a GGUF file, which llama.cpp writes.

The file is little-endian: `GGUF`, the version, the numbers of tensors and of settings, the settings, then each
tensor's name, sides, type and place. The data begin at the next multiple of the alignment. The format's own library is
not used for it: it maps the file, so that one that is cut while it is read ends the process, and it follows any count.

Source: ggml-org/ggml docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sources.files import opened
from mergeometry.sources.tensors import FileStamp

_VERSIONS = (2, 3)
_FORMATS = ("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "", "", "<Q", "<q", "<d")
"""Of a setting's value, by its type; texts and lists have none."""
_TEXT, _LIST = 8, 9
_ALIGNMENT = "general.alignment"
_DIMENSIONS = 4
_KEY_BYTES = 1024
_TEXT_BYTES = 1 << 20
"""Of a text that is kept or passed over: chat templates have tens of thousands."""
_SETTINGS = 10_000
_TEXTS = 1_000_000
"""In all lists together: the largest vocabularies have 256,000 words and twice as many merges."""

Value = int | float | bool | str


class StoredBlocks(NamedTuple):
    """One tensor as the file has it: its sides in the order of rows, the number of its type, its place and bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    nbytes: int


class GGUFHeader(NamedTuple):
    """The settings that are no lists, the tensors in the order of their bytes, and the file's stamp."""

    settings: dict[str, Value]
    tensors: list[StoredBlocks]
    stamp: FileStamp


def read_gguf_header(path: Path, sizes: dict[int, tuple[int, int]]) -> GGUFHeader:
    """Read the header of a GGUF file, none of its data.

    ``sizes`` gives the entries and bytes of one block of each type.

    Raises:
        SourceError: the file deviates from the format, or its tensors overlap, leave holes or end after the file.
    """
    with opened(path, None) as (descriptor, stamp), os.fdopen(os.dup(descriptor), "rb") as file:
        header = _Reader(file, path, stamp.size)
        tensors, settings = header.counts()
        values = header.settings(settings)
        listed = [header.tensor(sizes) for _ in range(tensors)]
        alignment = values.get(_ALIGNMENT, 32)
        if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise header.refused(f"{_ALIGNMENT} must be a power of two from 8 to {1 << 20:,}, not {alignment!r:.40}")
        start = -(-header.place // alignment) * alignment
    placed = sorted((one._replace(start=start + one.start) for one in listed), key=lambda one: (one.start, one.nbytes))
    _check_tiling(placed, start, alignment, stamp.size, path)
    return GGUFHeader(values, placed, stamp)


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file, self._path, self._size = file, path, size
        self.place = 0
        self._texts = 0

    def refused(self, what: str, tensor: str | None = None) -> SourceError:
        return SourceError(f"the GGUF file is malformed: {what}", file=self._path, tensor=tensor)

    def counts(self) -> tuple[int, int]:
        if self._bytes(4) != b"GGUF":
            raise self.refused("it does not begin with 'GGUF'")
        version = self._number("<I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "big"), "little") in _VERSIONS
            raise self.refused("it is of a big-endian machine" if swapped else f"its version is {version}, not 2 or 3")
        tensors, settings = self._number("<Q"), self._number("<Q")
        for count, most, what in ((tensors, limits.TENSORS_PER_FILE, "tensors"), (settings, _SETTINGS, "settings")):
            if count > most:
                raise self.refused(f"it claims {count:,} {what}; at most {most:,} are read")
        return tensors, settings

    def settings(self, count: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        seen: set[str] = set()
        for _ in range(count):
            key = self._text(_KEY_BYTES)
            if key in seen:
                raise self.refused(f"the setting {key[:80]!r} is given twice")
            seen.add(key)
            value = self._value(self._number("<I"), key)
            if value is not None:
                values[key] = value
        return values

    def tensor(self, sizes: dict[int, tuple[int, int]]) -> StoredBlocks:
        name = self._text(limits.NAME_CHARACTERS)
        dimensions = self._number("<I")
        if not name or not 1 <= dimensions <= _DIMENSIONS:
            raise self.refused(f"a tensor has no name or not 1 to {_DIMENSIONS} dimensions", name)
        shape = tuple(reversed([self._number("<Q") for _ in range(dimensions)]))
        kind, start = self._number("<I"), self._number("<Q")
        if kind not in sizes:
            raise self.refused(f"the type {kind} is unknown", name)
        block, size = sizes[kind]
        if shape[-1] % block:
            raise self.refused(f"rows of {shape[-1]:,} are no multiple of the type's blocks of {block}", name)
        nbytes = math.prod(shape) // block * size
        if start + nbytes > self._size:
            raise self.refused(f"the tensor's bytes end after the file's {self._size:,}: it is truncated", name)
        return StoredBlocks(name, shape, kind, start, nbytes)

    def _value(self, kind: int, key: str) -> Value | None:
        if kind == _TEXT:
            return self._text(_TEXT_BYTES)
        if kind != _LIST:
            return self._number(self._format(kind, key))
        inner, count = self._number("<I"), self._number("<Q")
        if inner == _TEXT:
            self._texts += count
            if self._texts > _TEXTS or count * 8 > self._size - self.place:
                raise self.refused(f"the setting {key[:80]!r} claims {count:,} texts")
            for _ in range(count):
                self._skip(self._number("<Q"))
        else:
            self._skip(count * struct.calcsize(self._format(inner, key)))
        return None

    def _format(self, kind: int, key: str) -> str:
        if kind >= len(_FORMATS) or not _FORMATS[kind]:
            raise self.refused(f"the setting {key[:80]!r} has the type {kind}, which is not read")
        return _FORMATS[kind]

    def _text(self, most: int) -> str:
        length = self._number("<Q")
        if length > most:
            raise self.refused(f"a name or text claims {length:,} bytes; at most {most:,} are read")
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError as error:
            raise self.refused("a name or text is not UTF-8") from error

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise self.refused("its header is truncated")
        self.place += count
        return found

    def _skip(self, count: int) -> None:
        if count > self._size - self.place:
            raise self.refused(f"a list or text claims {count:,} bytes, more than the file has left")
        self._file.seek(count, os.SEEK_CUR)
        self.place += count


def _check_tiling(tensors: list[StoredBlocks], start: int, alignment: int, size: int, path: Path) -> None:
    """Refuse overlaps, holes beyond the padding, and bytes that no tensor owns."""
    end, names = start, set[str]()
    for one in tensors:
        expected = -(-end // alignment) * alignment
        problem = (
            "is given twice" if one.name in names
            else "overlaps the one before" if one.start < expected
            else f"leaves a hole of {one.start - expected:,} bytes before it" if one.start > expected
            else "ends after the file: it is truncated" if one.start + one.nbytes > size
            else None
        )  # fmt: skip
        if problem:
            raise SourceError(f"the GGUF file is malformed: the tensor {problem}", file=path, tensor=one.name)
        names.add(one.name)
        end = one.start + one.nbytes
    if size - end >= alignment and tensors:
        raise SourceError(f"the GGUF file has {size - end:,} bytes after its last tensor", file=path)
