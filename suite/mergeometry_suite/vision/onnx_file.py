"""Read the weights of an ONNX file, and which node each goes into; nothing in the file is run.

ONNX files are protocol buffers. Of their schema (onnx.proto3, version 1.x) these fields are read:
``ModelProto.graph`` 7; ``GraphProto.node`` 1, ``.initializer`` 5; ``NodeProto.input`` 1, ``.name`` 3;
``TensorProto.dims`` 1, ``.data_type`` 2 (1 is float32), ``.name`` 8, ``.raw_data`` 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.errors import DataError

_FLOAT32 = 1
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class OnnxWeights:
    """The float32 weights of a graph by name, and of each node that has a name the names of its inputs."""

    weights: dict[str, Tensor]
    inputs: dict[str, tuple[str, ...]]


def read_onnx(path: Path) -> OnnxWeights:
    """Read the weights of an ONNX file; those of other types than float32 are left out.

    Raises:
        DataError: the file is not an ONNX file, or is truncated.
    """
    content = memoryview(path.read_bytes())
    weights: dict[str, Tensor] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    try:
        for graph in _messages(content, 7):
            for node in _messages(graph, 1):
                for name in _texts(node, 3):
                    inputs[name] = _texts(node, 1)
            for tensor in _messages(graph, 5):
                if named := _tensor(tensor):
                    weights.update([named])
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"the file is not a whole ONNX file: {error}", file=path) from error
    if not weights:
        raise DataError("the file holds no float32 weights", file=path)
    return OnnxWeights(weights, inputs)


def _tensor(message: memoryview) -> tuple[str, Tensor] | None:
    shape: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for field, value in _fields(message):
        if field == 1:
            # Dimensions come one by one, or packed into one run of bytes.
            shape += [value] if isinstance(value, int) else _packed(value)
        elif field == 2 and isinstance(value, int):
            kind = value
        elif field == 8 and not isinstance(value, int):
            name = bytes(value).decode()
        elif field == 9 and not isinstance(value, int):
            raw = value
    if kind != _FLOAT32 or len(raw) != 4 * prod(shape):
        return None
    return name, torch.frombuffer(bytearray(raw), dtype=torch.float32).reshape(shape)


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for field, value in _fields(message):
        if field == wanted and not isinstance(value, int):
            yield value


def _texts(message: memoryview, wanted: int) -> tuple[str, ...]:
    return tuple(bytes(value).decode() for value in _messages(message, wanted))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one message in order: numbers as they are, everything else as its bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield field, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if place + size > len(message):
            raise ValueError("a field ends after the end of the file")
        yield field, message[place : place + size]
        place += size


def _packed(message: memoryview) -> list[int]:
    numbers: list[int] = []
    place = 0
    while place < len(message):
        number, place = _varint(message, place)
        numbers.append(number)
    return numbers


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number in base 128, the least significant digit first; the highest bit says that more follow."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
