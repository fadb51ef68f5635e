"""Computes one tensor task from its files to the bytes of its output."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mergeometry.deferred import Tensor, torch
from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.errors import ExecutionError, MergeometryError, in_one_line
from mergeometry.execution.copies import copy_in_pieces, refuse_unequal
from mergeometry.execution.directions_store import DirectionsStore
from mergeometry.execution.fallback import on_device
from mergeometry.execution.known_directions import DirectionsWarning, recalled
from mergeometry.execution.measuring import UndefinedScaleWarning, scale_for
from mergeometry.execution.noting import noting
from mergeometry.execution.pieces import InOrder, Writes, write_in_pieces
from mergeometry.execution.stored import as_stored
from mergeometry.execution.task_pieces import Pieces
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.execution.task_vectors import TaskVectors, merged_delta
from mergeometry.execution.usage import process_usage
from mergeometry.linalg.batches import DeviceMemoryWarning
from mergeometry.linalg.inner import inner
from mergeometry.linalg.side_by_side import scaled_columns
from mergeometry.linalg.svd import DecompositionFallbackWarning, top_directions
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import Slot, SlotWriter
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, Directions, LowRank, Weight

TRUNCATED = "truncated to rank"
"""How the note begins on an update whose rank is higher than that of the adapter that holds it."""

_ALL = 1 - 1e-10
"""Share of a squared norm from which what is missing is rounding, as of a convolution's update of known rank."""


class TruncationWarning(UserWarning):
    """An update was truncated."""


_NOTED = (
    DecompositionFallbackWarning,
    DeviceMemoryWarning,
    DirectionsWarning,
    TruncationWarning,
    UndefinedScaleWarning,
)
"""Warnings that become notes on the tensor in the run record."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task and the places that its outputs go to, as a worker receives them."""

    task: TensorTask
    slots: tuple[Slot, ...]
    folder: Path
    labels: tuple[str, ...]
    algorithm: Algorithm | None = None
    """What every byte read and written is hashed by; None where nobody needs that."""
    device: str = "cpu"
    """Where the tensor is merged."""
    directions: DirectionsStore | None = None
    """Where its decompositions may be known, and are kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task: digests of what was read and written, seconds, peak memory in bytes, notes."""

    name: str
    written: tuple[str, ...]
    read: tuple[tuple[str, str, str], ...]
    """(model label, name in the file, digest)."""
    seconds: float
    peak_memory: int
    process: int
    notes: tuple[str, ...]
    scales: tuple[float, ...] = ()
    """What the merged task vector was multiplied by, for each matrix that the tensor holds; none for a copy."""
    energies: tuple[float, ...] = ()
    """Of an update that an adapter holds in factors: the squared norm that they keep, and the whole one."""
    processor: float = 0.0
    """Seconds that the process's processors worked meanwhile."""
    device: str = "cpu"
    """Where the tensor was merged."""
    recalled: tuple[int, int] = (0, 0)
    """How many decompositions were asked for where they may be known, and how many were."""

    @property
    def scale(self) -> float | None:
        """The one scale of the whole tensor; None for a copy, and where its matrices have scales of their own."""
        return self.scales[0] if len(set(self.scales)) == 1 else None


def compute(job: Job) -> Outcome:
    """Read, merge, check and write one tensor.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input or the result is not finite, or a decomposition fails.
        OutputError: the disk refuses the bytes.
        ExecutionError: the method fails, or memory runs out.
    """
    with TensorReader() as reader, SlotWriter(job.folder, algorithm=job.algorithm or DEFAULT) as writer:
        return computed(job, reader, writer)


def computed(job: Job, reader: Reads, writer: Writes, begun: Callable[[], Pieces] | None = None) -> Outcome:
    """The same with inputs and outputs wherever they are: in files, or in memory.

    ``begun`` is what gives the tensor's pieces, where reading them has begun.

    Raises:
        NumericalError: an input or the result is not finite, or a decomposition fails.
        ExecutionError: the method fails, or memory runs out.
        MergeometryError: what the reader or the writer raises.
    """
    started, worked = time.perf_counter(), time.process_time()
    with noting(*_NOTED) as notes:

        def produce(inputs: TaskReader) -> tuple[Produced, TaskReader]:
            return _produce(job, inputs, reader, writer), inputs

        try:
            if begun is None:
                given = (job.labels, job.algorithm, job.directions)
                (written, scales, energies), inputs = on_device(job.device, reader, given, produce)
            else:
                pieces = begun()
                (written, scales, energies), inputs = _merged_in_pieces(job, pieces, writer), pieces.inputs
        except MergeometryError:
            raise
        except Exception as error:
            raise ExecutionError(
                f"a tensor could not be merged: {type(error).__name__}: {in_one_line(error)}",
                tensor=job.task.name,
                hint=f"method {job.task.steps}",
            ) from error
    read = tuple((label, name, digest) for (label, name), digest in inputs.digests.items())
    peak, process = process_usage()
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    return Outcome(
        job.task.name, written, read, seconds, peak, process, tuple(notes), scales, energies, processor,
        str(inputs.device), recalled(inputs.recall),
    )  # fmt: skip


class Produced(NamedTuple):
    """The digests of a task's outputs, the scales of the merged task vectors in them, and an update's energies."""

    digests: tuple[str, ...]
    scales: tuple[float, ...] = ()
    energies: tuple[float, ...] = ()


def _produce(job: Job, inputs: TaskReader, reader: Reads, writer: Writes) -> Produced:
    """Write a task's outputs."""
    task = job.task
    if task.route == "copy":
        if task.turned is not None and task.outputs:
            return Produced(_copy_turned(job, inputs, writer))
        digest = copy_in_pieces(task, job.slots[0] if task.outputs else None, inputs, reader, writer)
        return Produced((digest,) if task.outputs else ())
    if task.equal:
        refuse_unequal(task, inputs, inputs.raw("base", task.base))
    if task.route == "slices":
        return _produce_slices(job, inputs, reader, writer)
    if task.route in ("chunks", "rows", "passes") and inputs.device.type == "cpu":
        return _merged_in_pieces(job, Pieces(task, inputs, reader), writer)
    vectors = TaskVectors(task, inputs)
    delta, deltas = merged_delta(task, vectors)
    scale = scale_for(task, delta, deltas)
    del deltas  # the merge is added without them
    if task.route == "factors":
        return _write_factors(job, delta, scale, writer)
    base = vectors.stored_base
    if isinstance(delta, LowRank):
        delta = delta.dense(base.dtype)
    merged = Weight(base).plus((delta.mT if task.transposed else delta).to(base.dtype), scale).tensor
    if task.turned is not None:
        merged = merged @ task.turned.to(merged)
    if task.rows:
        merged = merged[torch.tensor(task.rows, device=merged.device)]
    stored = as_stored(task, merged, task.outputs[0].code, scale)
    return Produced((writer.write(job.slots[0], stored.cpu()),), (scale,))


def _merged_in_pieces(job: Job, pieces: Pieces, writer: Writes) -> Produced:
    return Produced((write_in_pieces(pieces, job.slots[0], writer),), (job.task.scale,))


def _produce_slices(job: Job, inputs: TaskReader, reader: Reads, writer: Writes) -> Produced:
    """Merge the matrices of a stacked tensor one after another, each written to its part of the tensor's place."""
    (slot,), hashed, scales = job.slots, InOrder(writer, inputs.algorithm), []
    start = slot.start
    for piece in job.task.slices:
        part = replace(slot, start=start, nbytes=piece.outputs[0].nbytes)
        scales += _produce(replace(job, task=piece, slots=(part,)), inputs, reader, hashed).scales
        start += part.nbytes
    return Produced((hashed.digest,), tuple(scales))


def _copy_turned(job: Job, inputs: TaskReader, writer: Writes) -> tuple[str, ...]:
    """Copy a matrix with a rotation of its inputs folded in."""
    task = job.task
    assert task.turned is not None
    tensor = inputs.raw("base", task.base)
    numbers = inputs.finite("base", task.base, tensor)
    refuse_unequal(task, inputs, tensor)
    stored = as_stored(task, numbers @ task.turned.to(numbers.dtype), task.outputs[0].code, task.scale)
    return (writer.write(job.slots[0], stored),)


def _write_factors(job: Job, delta: Delta, scale: float, writer: Writes) -> Produced:
    """Split a merged update evenly into ``lora_B @ lora_A``; planned directions that the update lacks are zero.

    What is left out of an update of higher rank is said in a `TruncationWarning`.
    """
    task = job.task
    first, second = task.outputs
    if task.embedding:
        delta = delta.transposed() if isinstance(delta, LowRank) else delta.mT
    if isinstance(delta, Tensor):
        delta = delta.flatten(1)  # a convolution's, whose first factor has the kernel
    rank = first.shape[0]
    directions = top_directions(delta, rank)
    whole = inner(delta, delta)
    # Rounding makes the two differ even where nothing is left out.
    energy = min(whole, float(directions.values.double().square().sum()))
    kept = energy / whole if whole else 1.0
    if rank < (delta.rank if isinstance(delta, LowRank) else min(delta.shape)) and kept < _ALL:
        warnings.warn(
            f"{TRUNCATED} {rank}, share of the squared norm kept: {kept:.6f}", TruncationWarning, stacklevel=2
        )
    roots = (directions.values * abs(scale)).sqrt()
    sign = -1.0 if scale < 0 else 1.0
    directions, roots = Directions(directions.left.cpu(), directions.values.cpu(), directions.right.cpu()), roots.cpu()
    down, up = torch.zeros(first.shape), torch.zeros(second.shape)
    scaled_columns(directions.right, roots, out=down.flatten(1)[: directions.count].mT)
    scaled_columns(directions.left, sign * roots, out=up.flatten(1)[:, : directions.count])
    pairs: Sequence[tuple[Slot, Tensor, str]] = (
        (job.slots[0], down, first.code),
        (job.slots[1], up, second.code),
    )
    digests = tuple(writer.write(slot, as_stored(task, tensor, code, scale)) for slot, tensor, code in pairs)
    return Produced(digests, (scale,), (energy * scale**2, whole * scale**2))
