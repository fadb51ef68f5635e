"""Merges a tensor a few entries at a time, by methods that need no more of it: sums, and merges row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.dtypes import compute_dtype
from mergeometry.execution.stored import as_stored
from mergeometry.execution.task_reader import ChunkedInput, TaskReader
from mergeometry.methods.base import Linear, Rowwise
from mergeometry.plan.cost import CHUNK_ELEMENTS, rows_at_once
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot, SlotWriter
from mergeometry.sink.writer import tensor_bytes
from mergeometry.sources import AdapterDelta, TensorInfo, TensorReader

Merge = Callable[[Iterable[Float[Tensor, " count"] | None], Float[Tensor, " count"]], Float[Tensor, " count"]]
"""Task vectors' entries (None where a model leaves the tensor alone) and the base's weights there to the merge's."""

Part = Callable[[int, int, Float[Tensor, " count"]], Float[Tensor, " count"]]
"""A model's task vector from one entry to another (exclusive), beside the base's weights there."""


def merges_in_chunks(task: TensorTask) -> bool:
    """Whether no step of a task's merge needs more of the tensor than the entries being merged."""
    if task.adapters_only or task.refinements or task.scales_itself or task.turned is not None:
        return False
    return isinstance(task.method, Linear) or (
        isinstance(task.method, Rowwise) and rows_at_once(task.base.shape) > 0 and not task.transposed
    )


def write_in_chunks(task: TensorTask, slot: Slot, inputs: TaskReader, reader: TensorReader, writer: SlotWriter) -> str:
    """Merge and write a tensor from its first entries to its last, and return the digest of what was written.

    Raises:
        SourceError: an input changed or ended early.
        NumericalError: an input or the result is not finite.
        OutputError: the disk refused the bytes.
    """
    base = ChunkedInput(inputs, reader, "base", task.base)
    parts = [_part(task, index, inputs, reader) for index in range(len(task.sources))]
    step, merge = _adding(task) if isinstance(task.method, Linear) else _by_rows(task)
    elements, digest = task.base.elements, hashlib.sha256()
    for first in range(0, max(elements, 1), step):
        last = min(first + step, elements)
        weight = base.read(first, last)
        delta = merge((None if part is None else part(first, last, weight) for part in parts), weight)
        stored = as_stored(task, weight.add_(delta, alpha=task.scale), task.outputs[0].code)
        digest.update(tensor_bytes(stored))
        writer.write_range(slot, first, stored)
    return digest.hexdigest()


def _part(task: TensorTask, index: int, inputs: TaskReader, reader: TensorReader) -> Part | None:
    source, label = task.sources[index], inputs.label(index)
    if isinstance(source, TensorInfo):
        own = ChunkedInput(inputs, reader, label, source)
        # In place: what was just read is nobody else's.
        return lambda first, last, weight: own.read(first, last).to(weight.dtype).sub_(weight)
    if isinstance(source, AdapterDelta):
        update = inputs.low_rank(label, source).dense(compute_dtype(task.base.code)).reshape(-1)
        return lambda first, last, _weight: update[first:last]
    return None


def _adding(task: TensorTask) -> tuple[int, Merge]:
    """One task vector's entries at a time."""
    method = task.method
    assert isinstance(method, Linear)
    coefficients = method.coefficients(task.weights)

    def add(deltas: Iterable[Tensor | None], weight: Tensor) -> Tensor:
        total = torch.zeros_like(weight)
        for coefficient, delta in zip(coefficients, deltas, strict=True):
            if delta is not None:
                total.add_(delta, alpha=coefficient)
        return total

    return CHUNK_ELEMENTS, add


def _by_rows(task: TensorTask) -> tuple[int, Merge]:
    """Whole rows of all task vectors."""
    method, width = task.method, task.base.shape[1]
    assert isinstance(method, Rowwise)

    def merge(deltas: Iterable[Tensor | None], weight: Tensor) -> Tensor:
        rows = [torch.zeros_like(weight) if delta is None else delta for delta in deltas]
        return method.merge([own.view(-1, width) for own in rows], task.weights).view(-1)

    return rows_at_once(task.base.shape) * width, merge
