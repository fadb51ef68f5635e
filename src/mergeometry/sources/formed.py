"""Tensors that no file holds as they are: they are formed from others while they are read.

To a plan and to the engine such a tensor is like one on disk: it has a name, a dtype and a shape, and is read whole or
a range of entries at a time. How it is formed says a `Form`: from which tensors, and in pieces of how many entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mergeometry.deferred import Tensor, torch
from mergeometry.dtypes import item_size
from mergeometry.sources.tensors import TensorInfo

_PIECE = 1 << 22
"""Entries that are formed at a time, unless a unit is larger."""
_PIECE_BYTES = 32
"""Bytes per entry of a piece while it is formed: indexes of 64 bits, numbers, scales, products."""


class Reads(Protocol):
    """Reads tensors on disk: `TensorReader`."""

    def read(self, info: TensorInfo, /) -> Tensor:
        """The whole tensor."""
        ...

    def read_range(self, info: TensorInfo, first_element: int, last_element: int, /) -> Tensor:
        """Some of its entries, as one row."""
        ...


class Form(Protocol):
    """How a tensor is formed. It is a frozen value, which workers receive."""

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The tensors that it is formed from."""
        ...

    @property
    def held(self) -> int:
        """Bytes of them that are in memory while a piece is formed."""
        ...

    @property
    def unit(self) -> int:
        """Entries of the smallest piece that can be formed alone; a larger piece is a whole number of them."""
        ...

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Entries ``first`` to ``last`` (exclusive), each a multiple of the unit, as one row in any dtype."""
        ...


@dataclass(frozen=True, slots=True)
class FormedTensor(TensorInfo):
    """A tensor that is formed while it is read; its file, place and stamp are those of the first of its parts."""

    form: Form

    @property
    def stored(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk that decide its values."""
        return tuple(info for part in self.form.parts for info in part.stored)

    @property
    def working(self) -> int:
        """Bytes that are held while it is formed, beside the result: its parts, and one piece in several forms."""
        return 2 * self.form.held + _PIECE_BYTES * min(self.elements, max(self.form.unit, _PIECE))


def formed(name: str, shape: tuple[int, ...], code: str, form: Form) -> FormedTensor:
    """A formed tensor of this name, shape and dtype (its code in a file)."""
    first, elements = form.parts[0], 1
    for side in shape:
        elements *= side
    return FormedTensor(name, code, shape, first.file, first.start, elements * item_size(code), first.stamp, form)


def read_formed(reader: Reads, info: FormedTensor, first: int, last: int) -> Tensor:
    """Entries ``first`` to ``last`` (exclusive) of a formed tensor, as one row in its dtype."""
    unit = max(1, info.form.unit)
    result = torch.empty(last - first, dtype=info.dtype)
    step = max(unit, _PIECE // unit * unit)
    for start in range(first // unit * unit, last, step):
        end = min(start + step, -(-last // unit) * unit, info.elements)
        entries = info.form.entries(reader, start, end).reshape(-1)
        before, after = max(first, start), min(last, end)
        result[before - first : after - first] = entries[before - start : after - start]
    return result
