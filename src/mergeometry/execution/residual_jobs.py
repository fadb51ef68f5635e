"""What workers do for residuals: measure what a merge lost in one tensor, and write it as factors, rows or whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeometry.deferred import Shaped, Tensor, torch
from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.dtypes import codes, torch_dtype
from mergeometry.errors import NumericalError
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.linalg.svd import decompose, top_directions
from mergeometry.plan.residual_cost import ResidualKind
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot, SlotWriter
from mergeometry.sink.failures import explained
from mergeometry.sink.files import read_range
from mergeometry.sources import TensorReader
from mergeometry.values import LowRank


@dataclass(frozen=True, slots=True)
class GapJob:
    """A merged tensor, as it is staged, to compare with that of every model."""

    task: TensorTask
    kind: ResidualKind
    merged: Slot
    folder: Path
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """What a merge lost of one model's tensor: its squared norm, and that of each direction or row.

    Directions descend; rows are in their order. A tensor that is kept whole has neither.
    """

    energy: float
    update: float
    """The squared norm of the model's whole task vector, beside it."""
    parts: bytes
    """Squared norms, as float32 in the order of little-endian machines."""


@dataclass(frozen=True, slots=True)
class WriteJob:
    """What to write of a merged tensor into each model's residual: so many directions, these rows, or the whole."""

    gap: GapJob
    rank: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    slots: tuple[tuple[Slot, ...], ...]
    """By model: factors A and B, or the one tensor; none where nothing of it is written."""
    algorithm: Algorithm = DEFAULT


@dataclass(frozen=True, slots=True)
class Written:
    """Digests of what was written for each model, and the squared norm that is lost still."""

    digests: tuple[tuple[str, ...], ...]
    lost: tuple[float, ...]


def measure(job: GapJob) -> tuple[Gap, ...]:
    """Measure what the merge lost of each model in one tensor.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite, or a decomposition fails.
        OutputError: the staged tensor cannot be read.
    """
    with TensorReader() as reader:
        gaps = []
        for _, gap, update in _gaps(job, reader):
            energy = float(gap.square().sum())
            if job.kind == "factors":
                parts = decompose(gap, 0)[0].square()
            else:
                parts = gap.square().sum(dim=1) if job.kind == "rows" else torch.zeros(0)
            gaps.append(Gap(energy, update, parts.numpy().astype("<f4").tobytes()))
        return tuple(gaps)


def write(job: WriteJob) -> Written:
    """Write what is kept of one tensor for each model.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: a decomposition fails, or the dtype cannot hold a value.
        OutputError: the disk refuses the bytes.
    """
    digests, lost = [], []
    with TensorReader() as reader, SlotWriter(job.gap.folder, algorithm=job.algorithm) as writer:
        for index, (merged, gap, _) in enumerate(_gaps(job.gap, reader)):
            slots = job.slots[index]
            tensors = _kept(job, index, merged, gap) if slots else []
            stored = [_stored(job.gap.task.name, tensor, slot) for tensor, slot in zip(tensors, slots, strict=True)]
            digests.append(tuple(writer.write(slot, one) for slot, one in zip(slots, stored, strict=True)))
            lost.append(_lost(job, index, stored, merged, gap) if slots else float(gap.square().sum()))
    return Written(tuple(digests), tuple(lost))


def _gaps(job: GapJob, reader: TensorReader) -> Iterator[tuple[Tensor, Tensor, float]]:
    """The merged tensor as it is written, what it lacks of each model's, and the squared norm of the model's update.

    In float64 and, for matrices, (outputs, inputs).
    """
    task, inputs = job.task, TaskReader(reader, job.labels)
    vectors = TaskVectors(task, inputs)
    merged = staged(job.folder, job.merged, task.base.shape).double()
    merged = merged.mT if task.transposed else merged
    change = merged - vectors.base.double()
    for index in range(len(vectors)):
        delta = vectors.at(index)
        dense = delta.dense(torch.float64) if isinstance(delta, LowRank) else delta.double()
        yield merged, dense - change, float(dense.square().sum())


def staged(folder: Path, slot: Slot, shape: Sequence[int]) -> Shaped[Tensor, "*shape"]:
    """A tensor of the output as its bytes stand in the staged folder; ``OutputError`` if they cannot be read."""
    with explained("a staged file cannot be read", folder / slot.file):
        data = bytearray().join(read_range(folder / slot.file, slot.start, slot.nbytes))
    if not data:
        return torch.zeros(tuple(shape), dtype=torch_dtype(slot.code))
    return torch.frombuffer(data, dtype=torch_dtype(slot.code)).view(tuple(shape))


def _kept(job: WriteJob, index: int, merged: Tensor, gap: Tensor) -> list[Tensor]:
    kind = job.gap.kind
    if kind == "factors":
        rank = job.rank[index]
        found = top_directions(gap, rank)
        roots = found.values.sqrt()
        down, up = gap.new_zeros(rank, gap.shape[1]), gap.new_zeros(gap.shape[0], rank)
        down[: found.count] = (found.right * roots).mT
        up[:, : found.count] = found.left * roots
        return [down, up]
    if kind == "bias":
        return [gap]
    whole = merged + gap
    return [whole[list(job.rows[index])] if kind == "rows" else whole]


def _lost(job: WriteJob, index: int, stored: Sequence[Tensor], merged: Tensor, gap: Tensor) -> float:
    """The squared norm of what is not in the residual, its rounding included."""
    kind = job.gap.kind
    if kind == "factors":
        down, up = stored
        return float((gap - up.double() @ down.double()).square().sum())
    (one,) = stored
    if kind == "bias":
        return float((gap - one.double()).square().sum())
    left = gap.clone()
    where = list(job.rows[index]) if kind == "rows" else slice(None)
    left[where] = (merged + gap)[where] - one.double()
    return float(left.square().sum())


def _stored(name: str, tensor: Tensor, slot: Slot) -> Tensor:
    stored = tensor.to(torch_dtype(slot.code)).contiguous()
    if not bool(torch.isfinite(stored).all()):
        raise NumericalError(
            f"a value of its residual is infinite in {codes()[stored.dtype]}",
            tensor=name,
            hint="output: {residuals: {dtype: float32}} holds it",
        )
    return stored
