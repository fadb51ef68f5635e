"""Merges a tensor piece by piece, a few entries or rows at a time, for methods that allow it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.dtypes import compute_dtype
from mergeometry.execution.stored import as_stored
from mergeometry.execution.task_reader import ChunkedInput, Reads, TaskReader
from mergeometry.execution.task_vectors import begin_piece
from mergeometry.methods.families.cost import CHUNK_ELEMENTS
from mergeometry.plan.route import step_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot
from mergeometry.sink.writer import tensor_bytes
from mergeometry.sources import AdapterDelta, TensorInfo

Part = Callable[[int, int, Float[Tensor, " count"]], Float[Tensor, " count"]]
"""A model's task vector from one entry to another (exclusive), given the base's weights there."""


class Writes(Protocol):
    """Where merged tensors go: `SlotWriter` is the one for files."""

    def write(self, slot: Slot, tensor: Tensor, /) -> str:
        """Write a whole tensor, and return the sha256 of its bytes where anybody needs it."""
        ...

    def write_range(self, slot: Slot, first_element: int, tensor: Tensor, /) -> None:
        """Write a flat part of a tensor, from ``first_element`` on."""
        ...


class InOrder:
    """Writes the parts of a tensor, from its first bytes to its last, and hashes them together."""

    def __init__(self, writer: Writes) -> None:
        self._writer = writer
        self._hash = hashlib.sha256()

    def write(self, slot: Slot, tensor: Tensor, /) -> str:
        """Write the part that has this place."""
        self.write_range(slot, 0, tensor.reshape(-1))
        return ""

    def write_range(self, slot: Slot, first_element: int, tensor: Tensor, /) -> None:
        """Write the next entries of the part that has this place."""
        self._hash.update(tensor_bytes(tensor))
        self._writer.write_range(slot, first_element, tensor)

    def digest(self) -> str:
        """The sha256 of all that was written."""
        return self._hash.hexdigest()


def write_in_pieces(task: TensorTask, slot: Slot, inputs: TaskReader, reader: Reads, writer: Writes) -> str:
    """Merge and write a tensor from its first entries to its last, and return the digest of what was written.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input or the result is not finite.
        OutputError: the disk refuses the bytes.
    """
    digest = hashlib.sha256()
    for first, weight, delta in merged_pieces(task, inputs, reader):
        stored = as_stored(task, weight.add_(delta, alpha=task.scale), task.outputs[0].code, task.scale)
        digest.update(tensor_bytes(stored))
        writer.write_range(slot, first, stored)
    return digest.hexdigest()


def merged_pieces(
    task: TensorTask, inputs: TaskReader, reader: Reads
) -> Iterator[tuple[int, Float[Tensor, " count"], Float[Tensor, " count"]]]:
    """Merge a tensor piece by piece: where each begins, the base's entries there, and the merged task vector's.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite.
    """
    base = ChunkedInput(inputs, reader, "base", task.base)
    parts = [_part(task, index, inputs, reader) for index in range(len(task.sources))]
    step, elements = step_of(task.route, task.base.shape, CHUNK_ELEMENTS), task.base.elements
    for first in range(0, max(elements, 1), step):
        last = min(first + step, elements)
        weight = base.read(first, last)
        yield first, weight, _merged(task, parts, first, last, weight)


def _merged(
    task: TensorTask, parts: list[Part], first: int, last: int, weight: Float[Tensor, " count"]
) -> Float[Tensor, " count"]:
    """The merge of one piece: flat entries, or whole rows on the route `rows`."""
    shape = (-1, task.base.shape[1]) if task.route == "rows" else (-1,)
    accumulator = begin_piece(task, weight.view(shape))
    for index, part in enumerate(parts):
        accumulator.take(index, part(first, last, weight).view(shape))
    merged = accumulator.result()
    assert isinstance(merged, Tensor)
    return merged.reshape(-1)


def _part(task: TensorTask, index: int, inputs: TaskReader, reader: Reads) -> Part:
    source, label = task.sources[index], inputs.label(index)
    if isinstance(source, TensorInfo):
        weights = ChunkedInput(inputs, reader, label, source)
        # In place: nothing else refers to what was just read.
        return lambda first, last, weight: weights.read(first, last).to(weight.dtype).sub_(weight)
    if isinstance(source, AdapterDelta):
        update = inputs.low_rank(label, source).dense(compute_dtype(task.base.code)).reshape(-1)
        return lambda first, last, _weight: update[first:last]
    assert source is None  # what is formed from the whole tensor has another route
    return lambda _first, _last, weight: torch.zeros_like(weight)
