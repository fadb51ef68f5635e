"""How a tensor that is merged in pieces is read: how much at a time, how often, and what of it beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mergeometry.methods.families.cost import (
    CHUNK_BYTES,
    CHUNK_ELEMENTS,
    LARGEST_CHUNK,
    PIECE_ELEMENTS,
    READ_ONCE_BYTES,
)
from mergeometry.plan.route import step_of
from mergeometry.sources import TensorInfo
from mergeometry.sources.formed import FormedTensor

if TYPE_CHECKING:
    from mergeometry.plan.tasks import Source, TensorTask

_WORTH_READING_AHEAD = 1 << 20
"""Bytes of all models' copies of a tensor from which a thread of its own reads them sooner."""


def chunk_of(task: TensorTask) -> int:
    """Entries of a tensor that are read and written at a time: pieces that must be formed whole are."""
    infos = [info for info in (task.base, *task.sources) if isinstance(info, TensorInfo)]
    units = (info.form.unit for info in infos if isinstance(info, FormedTensor))
    few = min(LARGEST_CHUNK, CHUNK_BYTES // max(1, sum(info.item_size for info in infos)))
    return max(CHUNK_ELEMENTS, few, step_of(task.route, task.base.shape, PIECE_ELEMENTS), *units)


def is_read_once(task: TensorTask) -> bool:
    """Whether several passes over a tensor find in memory what the first has read."""
    infos = [info for info in (task.base, *task.sources) if isinstance(info, TensorInfo)]
    return task.route == "passes" and sum(info.nbytes for info in infos) <= READ_ONCE_BYTES


def reads_ahead(task: TensorTask) -> bool:
    """Whether a merge of pieces may begin to read while another tensor is merged: as it is stored, and enough of it."""
    infos = [task.base, *task.sources]
    plain = all(isinstance(info, TensorInfo) and not isinstance(info, FormedTensor) for info in infos)
    large = sum(map(read_bytes, infos)) >= _WORTH_READING_AHEAD
    return task.route in ("chunks", "rows", "passes") and not task.equal and plain and large


def read_at_once(task: TensorTask) -> int:
    """Bytes as they are stored that a merge of pieces has in memory: those in use, and those read meanwhile."""
    stored = sum(read_bytes(source) for source in (task.base, *task.sources))
    return stored if is_read_once(task) else 2 * chunk_of(task) * (stored // max(1, task.base.elements))


def bytes_beside(tasks: Iterable[TensorTask]) -> int:
    """Bytes of a tensor that one worker has read at most while it merges another."""
    return sum(sorted((read_at_once(task) for task in tasks if reads_ahead(task)), reverse=True)[1:2])


def read_bytes(source: Source) -> int:
    """Bytes of a source as it is stored."""
    if isinstance(source, TensorInfo):
        return source.nbytes
    return sum(info.nbytes for info in source.infos) if source else 0
