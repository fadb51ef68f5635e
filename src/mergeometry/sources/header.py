"""A strict reader of the safetensors header.

The file is: 8 bytes N (little-endian), N bytes of JSON `{name: {dtype, shape, data_offsets}}` beginning with `{`,
then the data. The offsets count from the end of the header and must tile the data without overlap or hole.
"""

from __future__ import annotations

import math
import os
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from mergeometry import limits
from mergeometry.dtypes import DTYPES, item_size
from mergeometry.errors import SourceError
from mergeometry.sources.files import opened
from mergeometry.sources.kinds import foreign_format
from mergeometry.sources.tensors import FileStamp, TensorInfo
from mergeometry.strict_json import parse_object, refuse_wide

_CHUNK = 1 << 20
_NESTING = 3
# A tensor's entry has at most so many of each; metadata may have as many again as 40,000 tensors. Each value of a
# document needs a comma, and each key or text two quotes, so this bounds what parsing allocates.
_OF_A_TENSOR = {b",": 4 + limits.DIMENSIONS, b'"': 10, b"{": 1, b"[": 2}
_OF_METADATA = 40_000
_ENTRY = {"dtype", "shape", "data_offsets"}
_METADATA = "__metadata__"
_SUB_BYTE = {"F4", "F6_E2M3", "F6_E3M2", "I4", "U4"}


class Header(NamedTuple):
    """What one safetensors file holds: tensors in the order of their bytes, free-form metadata, the file's stamp."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    stamp: FileStamp


def read_header(path: Path, folder: Path | None = None) -> Header:
    """Read and validate the header of one safetensors file, none of its data.

    ``folder``, if given, is the model's folder, which the file may not leave by a link.

    Raises:
        SourceError: the file deviates from the format; the error names the file and, where possible, the tensor.
    """
    with opened(path, folder) as (descriptor, stamp):
        first = os.pread(descriptor, 32, 0)
        if len(first) < 8:
            raise foreign_format(first, path) or SourceError(
                f"the file has {stamp.size} bytes, too few for a safetensors header: it is empty or truncated",
                file=path,
            )
        length = int.from_bytes(first[:8], "little")
        _check_length(length, first, stamp, path)
        raw = _read_bounded(descriptor, length, path)
    document = parse_object(raw, path, "header", nesting=_NESTING)
    metadata = _metadata(document.pop(_METADATA, {}), path)
    if len(document) > limits.TENSORS_PER_FILE:
        raise _too_many(path)
    data_start = 8 + length
    tensors = [_tensor(name, entry, path, data_start, stamp) for name, entry in document.items()]
    tensors.sort(key=lambda info: (info.start, info.nbytes))
    _check_tiling(tensors, data_start, path, stamp)
    return Header({info.name: info for info in tensors}, metadata, stamp)


def _check_length(length: int, first: bytes, stamp: FileStamp, path: Path) -> None:
    if length > limits.HEADER_BYTES:
        raise foreign_format(first, path) or SourceError(
            f"the header claims {length:,} bytes; at most {limits.HEADER_BYTES:,} are read", file=path
        )
    if length > stamp.size - 8:
        raise foreign_format(first, path) or SourceError(
            f"the header claims {length:,} bytes, but {stamp.size - 8:,} follow its length: it is truncated",
            file=path,
        )
    if first[8:9] != b"{":
        raise foreign_format(first, path) or SourceError("the header does not begin with '{'", file=path)


def _read_bounded(descriptor: int, length: int, path: Path) -> bytearray:
    """Read the header piece by piece, giving up as soon as it must hold too much."""
    raw = bytearray()
    tensors = 0
    counts = dict.fromkeys(_OF_A_TENSOR, 0)
    while len(raw) < length:
        chunk = os.pread(descriptor, min(_CHUNK, length - len(raw)), 8 + len(raw))
        if not chunk:
            raise SourceError("the file was truncated while its header was read", file=path)
        tensors += chunk.count(b'"data_offsets"')
        if tensors > limits.TENSORS_PER_FILE:
            raise _too_many(path)
        if len(chunk) == _CHUNK and b'"' not in chunk and not chunk.isspace():
            raise SourceError(f"the header holds a text or number of more than {_CHUNK:,} bytes", file=path)
        for symbol, most in _OF_A_TENSOR.items():
            counts[symbol] += chunk.count(symbol)
            if counts[symbol] > most * (tensors + 1 + _OF_METADATA):  # an entry may be split between chunks
                raise SourceError(
                    f"the header holds more values than its {tensors:,} tensors and metadata need", file=path
                )
        raw += chunk
    refuse_wide(raw, path, "header")
    return raw


def _too_many(path: Path) -> SourceError:
    return SourceError(f"the header names more than {limits.TENSORS_PER_FILE:,} tensors", file=path)


def _metadata(value: Any, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise SourceError(f"the header's {_METADATA} must map names to strings", file=path)
    if len(value) > limits.METADATA_ENTRIES:
        raise SourceError(
            f"the header's {_METADATA} has {len(value):,} entries; at most {limits.METADATA_ENTRIES:,} are read",
            file=path,
        )
    return value


def _tensor(name: str, entry: Any, path: Path, data_start: int, stamp: FileStamp) -> TensorInfo:
    def refused(what: str, hint: str | None = None) -> SourceError:
        return SourceError(what, file=path, tensor=name[: limits.NAME_CHARACTERS], hint=hint)

    if not name:
        raise refused("a tensor's name is empty")
    if len(name) > limits.NAME_CHARACTERS:
        raise refused(f"a tensor's name has {len(name):,} characters; at most {limits.NAME_CHARACTERS:,} are read")
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        raise refused(f"the tensor's entry must have exactly the keys {', '.join(sorted(_ENTRY))}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        packed = isinstance(code, str) and code in _SUB_BYTE
        raise refused(
            f"the dtype {code} packs several values into a byte and is not read"
            if packed
            else f"the dtype {reprlib.repr(code)} is unknown",
            "de-quantise the model first" if packed else f"known: {', '.join(DTYPES)}",
        )
    if not _are_counts(shape):
        raise refused("the shape must be a list of integers of at least 0")
    if len(shape) > limits.DIMENSIONS:
        raise refused(f"the tensor has {len(shape):,} dimensions; at most {limits.DIMENSIONS} are read")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise refused("data_offsets must be two integers of at least 0")
    begin, end = offsets
    if begin > end:
        raise refused(f"data_offsets [{begin}, {end}] end before they begin")
    if data_start + end > stamp.size:
        raise refused(
            f"the tensor's bytes end at {data_start + end:,}, but the file has {stamp.size:,}: it is truncated",
            "copy or download the file again",
        )
    needed = math.prod(shape) * item_size(code)
    if needed != end - begin:
        raise refused(f"shape {shape} of {code} needs {needed} bytes, but data_offsets hold {end - begin}")
    return TensorInfo(name, code, tuple(shape), path, data_start + begin, needed, stamp)


def _are_counts(values: Any) -> bool:
    if not isinstance(values, list):
        return False
    # `type`, not `isinstance`: a boolean is an int to Python.
    for value in values:  # noqa: SIM110  (several times as fast as a generator, for every tensor of a mixture)
        if type(value) is not int or not 0 <= value < 1 << 63:
            return False
    return True


def _check_tiling(tensors: list[TensorInfo], data_start: int, path: Path, stamp: FileStamp) -> None:
    """Refuse overlaps, holes and bytes that no tensor owns: each could hide or share data."""
    cursor, previous = data_start, "the header"
    for info in tensors:
        if info.start < cursor:
            raise SourceError(
                f"the tensor's bytes overlap those of {previous!r} by {cursor - info.start:,}",
                file=path,
                tensor=info.name,
            )
        if info.start > cursor:
            raise SourceError(
                f"there is a hole of {info.start - cursor:,} bytes before the tensor", file=path, tensor=info.name
            )
        cursor, previous = info.start + info.nbytes, info.name
    if cursor != stamp.size:
        raise SourceError(f"the file has {stamp.size - cursor:,} bytes after its last tensor", file=path)
