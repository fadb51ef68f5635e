"""Merges a tensor piece by piece, for methods that allow it: no task vector is in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.digests import Algorithm, Hash
from mergeometry.dtypes import torch_dtype
from mergeometry.execution.stored import store
from mergeometry.execution.task_pieces import Pieces
from mergeometry.execution.write_behind import WriteBehind
from mergeometry.methods.families.piecewise import Scratch
from mergeometry.plan.reading import chunk_of
from mergeometry.sink import Slot
from mergeometry.sink.writer import tensor_bytes


class Writes(Protocol):
    """Where merged tensors go: `SlotWriter` is the one for files."""

    def write(self, slot: Slot, tensor: Tensor, /) -> str:
        """Write a whole tensor, and return the digest of its bytes where anybody needs it."""
        ...

    def write_range(self, slot: Slot, first_element: int, tensor: Tensor, /) -> None:
        """Write a flat part of a tensor, from ``first_element`` on."""
        ...


class InOrder:
    """Writes the parts of a tensor, from its first bytes to its last, and hashes them together."""

    def __init__(self, writer: Writes, algorithm: Algorithm | None) -> None:
        self._writer = writer
        self._hash = None if algorithm is None else Hash(algorithm)

    def write(self, slot: Slot, tensor: Tensor, /) -> str:
        """Write the part that has this place."""
        self.write_range(slot, 0, tensor.reshape(-1))
        return ""

    def write_range(self, slot: Slot, first_element: int, tensor: Tensor, /) -> None:
        """Write the next entries of the part that has this place."""
        if self._hash is not None:
            self._hash.update(tensor_bytes(tensor))
        self._writer.write_range(slot, first_element, tensor)

    @property
    def digest(self) -> str:
        """The digest of all that was written; empty where nothing is hashed."""
        return "" if self._hash is None else self._hash.digest


def write_in_pieces(pieces: Pieces, slot: Slot, writer: Writes) -> str:
    """Merge and write a tensor from its first entries to its last, and return the digest of what was written.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input or the result is not finite.
        OutputError: the disk refuses the bytes.
    """
    task = pieces.task
    hashed, dtype = InOrder(writer, pieces.inputs.algorithm), torch_dtype(task.outputs[0].code)

    def write(first: int, chunk: Tensor) -> None:
        hashed.write_range(slot, first, chunk)

    computed = Scratch()
    with WriteBehind(chunk_of(task), dtype, task.base.elements, write) as behind:
        for _, base, delta in merged_pieces(pieces):
            room = behind.room(base.numel())
            values = room if room.dtype is base.dtype else computed.like(base)
            store(task, torch.add(base, delta, alpha=task.scale, out=values), room, task.scale)
        behind.finish()
    return hashed.digest


def merged_pieces(pieces: Pieces) -> Iterator[tuple[int, Float[Tensor, " count"], Float[Tensor, " count"]]]:
    """Merge a tensor piece by piece: where each begins, the base's entries there, and the merged task vector's.

    Each is valid until the next is asked for.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite.
    """
    piecewise = pieces.piecewise
    if piecewise.samples and piecewise.measuring and (sample := pieces.sample()) is not None:
        piecewise.expect(sample, pieces.task.base.elements)
    pieces.tested = not (piecewise.tells_finite and pieces.all_dense)
    held = pieces.room_for_sum() if piecewise.sums_first else None
    while piecewise.measuring:
        for first, base, deltas in pieces:
            piecewise.measure(deltas, base)
            if pieces.untested and not piecewise.all_finite:
                pieces.test()
            if held is not None:
                piecewise.sum(deltas, held[first : first + base.numel()])
        piecewise.measured()
    if held is not None:
        for first, base in pieces.of_base():
            yield first, base, piecewise.merge_sum(held[first : first + base.numel()])
        return
    for first, base, deltas in pieces:
        merged = piecewise.merge(deltas, base)
        if pieces.untested and not piecewise.all_finite:
            pieces.test()
        yield first, base, merged
