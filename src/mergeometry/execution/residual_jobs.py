"""What workers do for residuals: measure what a merge lost in one tensor, and write it as factors, rows or whole."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.dtypes import codes, torch_dtype
from mergeometry.errors import NumericalError
from mergeometry.execution.residual_gaps import Gaps
from mergeometry.linalg.spectrum import singular_values
from mergeometry.linalg.svd import top_directions
from mergeometry.plan.residual_cost import PART_ELEMENTS, ResidualKind
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot, SlotWriter
from mergeometry.sources import TensorReader


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
        gaps = _gaps_of(job, reader)
        measured = _of_matrix if job.kind == "factors" else _of_parts
        return tuple(measured(job, gaps, index) for index in range(len(job.labels)))


def write(job: WriteJob) -> Written:
    """Write what is kept of one tensor for each model.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: a decomposition fails, or the dtype cannot hold a value.
        OutputError: the disk refuses the bytes.
    """
    digests, lost = [], []
    with TensorReader() as reader, SlotWriter(job.gap.folder, algorithm=job.algorithm) as writer:
        gaps = _gaps_of(job.gap, reader)
        written = _write_factors if job.gap.kind == "factors" else _write_parts
        for index, slots in enumerate(job.slots):
            of_model, left = written(job, gaps, index, writer) if slots else ((), 0.0)
            digests.append(of_model)
            lost.append(left)
    return Written(tuple(digests), tuple(lost))


def _gaps_of(job: GapJob, reader: TensorReader) -> Gaps:
    return Gaps(job.task, job.merged, job.folder, job.labels, reader)


def _of_matrix(job: GapJob, gaps: Gaps, index: int) -> Gap:
    gap, update = gaps.matrix(index)
    return _gap(_squared(gap), update, singular_values(gap).square())


def _of_parts(job: GapJob, gaps: Gaps, index: int) -> Gap:
    energy, update = 0.0, 0.0
    # In one piece: small tensors between parts would hold the memory of each part.
    rows = torch.zeros(job.task.base.shape[0] if job.kind == "rows" else 0, dtype=torch.float64)
    for first, gap, own in gaps.parts(index):
        energy, update = energy + float(gap.square().sum()), update + float(own.square().sum())
        if job.kind == "rows":
            row = first // gaps.width
            torch.sum(gap.view(-1, gaps.width).square(), dim=1, out=rows[row : row + len(gap) // gaps.width])
    return _gap(energy, update, rows)


def _gap(energy: float, update: float, parts: Float[Tensor, " count"]) -> Gap:
    return Gap(energy, update, parts.numpy().astype("<f4").tobytes())


def _write_factors(job: WriteJob, gaps: Gaps, index: int, writer: SlotWriter) -> tuple[tuple[str, ...], float]:
    """Write both factors; their digests, and the squared norm of what they leave out, their rounding included."""
    gap, _ = gaps.matrix(index)
    rank, slots = job.rank[index], job.slots[index]
    found = top_directions(gap, rank)
    roots = found.values.sqrt()
    down = _padded((found.right * roots).mT, rank, gap.shape[1])
    up = _padded((found.left * roots).mT, rank, gap.shape[0]).mT
    del found
    down, up = (_stored(job.gap.task.name, one, slot) for one, slot in zip((down, up), slots, strict=True))
    digests = tuple(writer.write(slot, one) for slot, one in zip(slots, (down, up), strict=True))
    down, lost = down.double(), 0.0
    step = max(1, PART_ELEMENTS // gap.shape[1])
    for first in range(0, len(gap), step):
        part = slice(first, first + step)
        lost += float((gap[part] - up[part].double() @ down).square().sum())
    return digests, lost


def _padded(directions: Float[Tensor, "k n"], rank: int, size: int) -> Float[Tensor, "r n"]:
    """Directions with zeros below them, where there are fewer than the rank."""
    missing = rank - len(directions)
    return torch.cat([directions, directions.new_zeros(missing, size)]) if missing else directions


def _write_parts(job: WriteJob, gaps: Gaps, index: int, writer: SlotWriter) -> tuple[tuple[str, ...], float]:
    """Write rows, or the whole, part by part; the digest, and the squared norm of what is left out."""
    (slot,) = job.slots[index]
    kind, chosen, lost = job.gap.kind, job.rows[index], 0.0
    for first, gap, _ in gaps.parts(index):
        wanted = gap if kind == "bias" else gap + gaps.merged(first, first + len(gap))
        place = first
        if kind == "rows":
            row, width = first // gaps.width, gaps.width
            begin, end = bisect_left(chosen, row), bisect_left(chosen, row + len(gap) // width)
            where = torch.tensor([one - row for one in chosen[begin:end]], dtype=torch.int64)
            lost += float(gap.square().sum() - gap.view(-1, width)[where].square().sum())
            wanted, place = wanted.view(-1, width)[where].reshape(-1), begin * width
        stored = _stored(job.gap.task.name, wanted, slot)
        writer.write_range(slot, place, stored)
        lost += float((wanted - stored.double()).square().sum())
    return (writer.digest(slot),), lost


def _squared(matrix: Float[Tensor, "m n"]) -> float:
    """The squared norm, without a copy of the whole."""
    step = max(1, PART_ELEMENTS // max(1, matrix.shape[1]))
    return sum(float(matrix[first : first + step].square().sum()) for first in range(0, len(matrix), step))


def _stored(name: str, tensor: Tensor, slot: Slot) -> Tensor:
    stored = tensor.to(torch_dtype(slot.code)).contiguous()
    if not bool(torch.isfinite(stored).all()):
        raise NumericalError(
            f"a value of its residual is infinite in {codes()[stored.dtype]}",
            tensor=name,
            hint="output: {residuals: {dtype: float32}} holds it",
        )
    return stored
