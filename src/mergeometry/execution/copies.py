"""Copies tensors piece by piece, whatever their size, and refuses models whose copies differ from the base's."""

from __future__ import annotations

from mergeometry.deferred import Shaped, Tensor, torch
from mergeometry.errors import MismatchError
from mergeometry.execution.pieces import InOrder, Writes
from mergeometry.execution.stored import as_stored
from mergeometry.execution.task_reader import ChunkedInput, Reads, TaskReader
from mergeometry.methods.families.cost import CHUNK_ELEMENTS
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot
from mergeometry.sources import TensorInfo


def copy_in_pieces(task: TensorTask, slot: Slot | None, inputs: TaskReader, reader: Reads, writer: Writes) -> str:
    """Write the base's tensor to ``slot``, where there is one; return the digest of what was written.

    Raises:
        MismatchError: a model's copy of the tensor differs from the base's.
        NumericalError: an entry is not finite, or the output's dtype cannot hold it.
        SourceError: an input changed or ends early.
        OutputError: the disk refuses the bytes.
    """
    base = ChunkedInput(inputs, reader, "base", task.base)
    for label, info in task.equal:
        if info.shape != task.base.shape:
            raise _unequal(label, info)
    copies = [(label, info, ChunkedInput(inputs, reader, label, info)) for label, info in task.equal]
    elements, written = task.base.elements, InOrder(writer, inputs.algorithm)
    for first in range(0, max(elements, 1), CHUNK_ELEMENTS):
        last = min(first + CHUNK_ELEMENTS, elements)
        stored = base.raw(first, last)
        numbers = inputs.finite("base", task.base, stored)
        for label, info, copy in copies:
            if not _same(copy.raw(first, last), stored):
                raise _unequal(label, info)
        if slot is not None:
            if slot.code != task.base.code:
                stored = as_stored(task, numbers, slot.code, task.scale)
            written.write_range(slot, first, stored)
    return written.digest


def refuse_unequal(task: TensorTask, inputs: TaskReader, base: Shaped[Tensor, "*shape"]) -> None:
    """Compare the models' whole copies of a merged tensor with the base's; MismatchError if one differs."""
    for label, info in task.equal:
        if not _same(inputs.raw(label, info), base):
            raise _unequal(label, info)


def _same(copy: Tensor, base: Tensor) -> bool:
    """A copy in another precision equals the base if one rounds to the other."""
    return torch.equal(copy.to(base.dtype), base) or torch.equal(base.to(copy.dtype), copy)


def _unequal(label: str, info: TensorInfo) -> MismatchError:
    return MismatchError(
        "a tensor that is not merged differs between the models",
        [f"{label}: {info.name!r} ({info.code}) differs from the base's in {info.file}"],
        hint="integers and copies of the base's weights must be equal everywhere",
    )
