"""What a plan can say of directions: which tensors take them, how large they are, and which are known already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mergeometry.execution.directions_store import DirectionsStore
from mergeometry.execution.known_directions import LEAST_SIDE, KnownDirections
from mergeometry.linalg.recall import Recall
from mergeometry.methods.families.directional import Directional
from mergeometry.plan.cost import sizes_of
from mergeometry.plan.machine import BYTES_PER_SECOND, FLOAT64_FLOPS_PER_SECOND
from mergeometry.plan.plan import Plan
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import TensorInfo

if TYPE_CHECKING:
    from mergeometry.execution.directions_folder import DirectionsFolder

_NUMBER = 8
"""Bytes of a number in float64."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a folder has of a plan's tensors."""

    tensors: frozenset[str]
    """Those whose directions are all there."""
    of: int
    """How many tensors a merge takes directions of."""
    seconds: dict[str, float]
    """What is saved of the seconds of each."""

    def to_json(self, folder: DirectionsFolder) -> dict[str, Any]:
        """Plain JSON values."""
        saved = round(sum(self.seconds.values()), 3)
        return {"folder": str(folder.path), "known": len(self.tensors), "of": self.of, "saved_seconds": saved}


def known_of(plan: Plan, folder: DirectionsFolder) -> Known:
    """What the folder has of a plan's tensors, from the stamps of their files; no weight is read."""
    store, found = folder.store(), dict[str, float]()
    tasks = [task for task in plan.tasks if any(map(takes_directions, pieces_of(task)))]
    for task in tasks:
        pieces = [piece for piece in pieces_of(task) if takes_directions(piece)]
        if all(store.noted(note_of(store, piece)) for piece in pieces):
            found[task.name] = min(task.cost.seconds, sum(map(_saved, pieces)))
    return Known(frozenset(found), len(tasks), found)


def takes_directions(task: TensorTask) -> bool:
    """Whether a tensor is merged by directions of matrices that are large enough to be kept."""
    dense = any(rank is None for rank in sizes_of(task).ranks) if task.method is not None else False
    return dense and isinstance(task.method, Directional) and min(task.shape) >= LEAST_SIDE


def note_of(store: DirectionsStore, task: TensorTask) -> str:
    """The name of the note on a tensor: what a plan knows of its files, and how many directions are taken."""
    assert isinstance(task.method, Directional)
    infos = [source if isinstance(source, TensorInfo) else None for source in (task.base, *task.sources)]
    stamps = [
        [[str(part.file), *part.stamp, part.name, part.start, part.nbytes] for part in (info.stored if info else ())]
        + ([info.name, info.start, info.code, *info.shape] if info else [])
        for info in infos
    ]
    of = [stamps, task.transposed, list(task.weights) if task.weighs_first else None]
    return store.key("note", task.method.part_ranks(sizes_of(task)), json.dumps(of).encode())


def note_directions(recall: Recall, task: TensorTask) -> None:
    """Note what the merge of a tensor has asked for, so that a plan can say that it is known."""
    if isinstance(recall, KnownDirections) and takes_directions(task):
        recall.note(note_of(recall.store, task))


def _counts(task: TensorTask) -> tuple[int, int]:
    """How many directions are taken of dense task vectors, and how many of all."""
    assert isinstance(task.method, Directional)
    sizes = sizes_of(task)
    counts = task.method.part_ranks(sizes)
    return sum(count for count, rank in zip(counts, sizes.ranks, strict=True) if rank is None), sum(counts)


def nbytes_of(task: TensorTask) -> int:
    """Bytes of what is kept of a tensor: directions of its dense task vectors, and two polar factors."""
    dense, total = _counts(task)
    return _NUMBER * ((sum(task.shape) + 1) * dense + sum(task.shape) * total)


def _saved(task: TensorTask) -> float:
    """Seconds that reading takes less than computing: all but the product of the merged factors, and the reading."""
    assert task.method is not None
    sizes, (_, total) = sizes_of(task), _counts(task)
    (m, n), work = task.shape, task.method.cost(sizes_of(task))
    computing = (work.flops - 2.0 * m * n * total) / FLOAT64_FLOPS_PER_SECOND
    return max(0.0, computing - nbytes_of(task) / BYTES_PER_SECOND) if sizes.dense else 0.0
