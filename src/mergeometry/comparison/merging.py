"""Merges one tensor by all methods at once: read once, decomposed once, each result written to its place."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from mergeometry.comparison.scratch import Place, Stored, room, store
from mergeometry.errors import ExecutionError, MergeometryError, in_one_line
from mergeometry.execution.directions_folder import DirectionsFolder, kept_in
from mergeometry.execution.directions_plan import nbytes_of, note_directions, takes_directions
from mergeometry.execution.directions_store import DirectionsStore
from mergeometry.execution.fallback import on_device
from mergeometry.execution.known_directions import DirectionsWarning
from mergeometry.execution.measuring import gram_of, statistics_of
from mergeometry.execution.noting import noting
from mergeometry.execution.refining import WeighedDeltas, refined
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors, begin
from mergeometry.execution.usage import process_usage
from mergeometry.linalg.recall import Recall
from mergeometry.linalg.tolerances import DecompositionFallbackWarning
from mergeometry.methods.families.accumulator import Accumulator, LeadingDirections
from mergeometry.plan.plan import Plan
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.scaling import Statistics
from mergeometry.scaling.statistics import Need
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, Directions


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to merge a tensor, the entries that use it, and where the result goes."""

    task: TensorTask
    users: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class MergeJob:
    """All ways to merge one tensor, as a worker receives them."""

    name: str
    variants: tuple[Variant, ...]
    labels: tuple[str, ...]
    needs: tuple[Need, ...] | None = None
    """What scale rules need; None where no merge is measured."""
    device: str = "cpu"
    """Where it is merged; its results go through main memory to their files."""
    directions: DirectionsStore | None = None
    """Where its decompositions may be known, and are kept."""


@dataclass(frozen=True, slots=True)
class MergedTensor:
    """Where each variant's result is, and its seconds alone: reading and decomposing are counted for each."""

    stored: tuple[Stored, ...]
    seconds: tuple[float, ...]
    peak_memory: int
    statistics: tuple[Statistics, ...] = ()
    """One per variant, where scale rules need them."""
    notes: tuple[str, ...] = ()
    """What is to be told of merging it."""


def merge_jobs(
    plans: Sequence[Plan],
    folder: Path,
    needs: tuple[Need, ...] | None = None,
    device: str = "cpu",
    directions: DirectionsFolder | None = None,
) -> tuple[list[MergeJob], dict[Path, int]]:
    """One job for each tensor, or slice of one, that any plan merges, the costliest first, and the scratch files.

    Entries that merge a tensor alike share one variant; a file holds what one set of entries uses, so that it can be
    removed when these are done. ``needs`` is what scale rules need, None where nothing is measured.

    Raises:
        OutputError: the folder of ``directions`` may not or cannot be used.
    """
    kept = kept_in(directions, [task for _, tasks in _by_name(plans) for task in _by_directions(tasks)])
    sizes: dict[Path, int] = {}
    labels = tuple(model.label for model in plans[0].models)
    jobs = []
    for name, tasks in _by_name(plans):
        groups: list[tuple[TensorTask, list[int]]] = []
        for user, task in tasks:
            known = next((users for other, users in groups if alike(task, other)), None)
            if known is None:
                groups.append((task, [user]))
            else:
                known.append(user)
        variants = []
        for task, users in groups:
            file = folder / ("-".join(map(str, users)) if len(users) < len(plans) else "all")
            variants.append(Variant(task, tuple(users), Place(file, sizes.get(file, 0), task.shape)))
            sizes[file] = sizes.get(file, 0) + room(task.shape)
        jobs.append(MergeJob(name, tuple(variants), labels, needs, device, kept.of(groups[0][0])))
    return sorted(jobs, key=lambda job: (-sum(v.task.cost.seconds for v in job.variants), job.name)), sizes


def _by_name(plans: Sequence[Plan]) -> list[tuple[str, list[tuple[int, TensorTask]]]]:
    """What any plan merges: the tensors' names, or those of their slices, each with the plans' tasks for it."""
    named: dict[str, list[tuple[int, TensorTask]]] = {}
    for tasks in zip(*(plan.tasks for plan in plans), strict=True):
        for user, task in enumerate(tasks):
            for piece in pieces_of(task):
                if piece.method is not None:
                    named.setdefault(piece.name, []).append((user, piece))
    return list(named.items())


def _by_directions(tasks: Iterable[tuple[int, TensorTask]]) -> list[TensorTask]:
    """Of all ways to merge a tensor the one that takes the most directions, which the others share; none may."""
    taking = [task for _, task in tasks if takes_directions(task)]
    return [max(taking, key=nbytes_of)] if taking else []


def merge_tensor(job: MergeJob) -> MergedTensor:
    """Merge one tensor by all its variants.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite, or a decomposition fails.
        ExecutionError: a method fails.
    """
    with TensorReader() as reader, noting(DecompositionFallbackWarning, DirectionsWarning) as notes:
        merged = on_device(job.device, reader, (job.labels, None, job.directions), partial(_merged, job))
    return replace(merged, notes=tuple(notes))


@dataclass(slots=True)
class _Work:
    """The state of one variant's merge."""

    task: TensorTask
    place: Place
    accumulator: Accumulator[Delta]
    seconds: float = 0.0

    def count(self, delta: Delta) -> int | None:
        """How many leading directions of a task vector it needs; None where it needs the task vector itself."""
        return self.accumulator.count(delta) if isinstance(self.accumulator, LeadingDirections) else None

    def take(self, index: int, delta: Delta, shared: Directions | None) -> None:
        """Take a model's task vector, or as many of the shared directions as it needs."""
        if isinstance(self.accumulator, LeadingDirections) and shared is not None:
            self.accumulator.take_directions(index, shared.leading(self.accumulator.count(delta)))
        else:
            self.accumulator.take(index, delta)

    def merged(self, vectors: TaskVectors) -> Delta:
        """The merged task vector, once every model's was taken; refinements may read the task vectors again."""
        return refined(self.task, self.accumulator.result(), self.accumulator.held or vectors)


def _merged(job: MergeJob, inputs: TaskReader) -> MergedTensor:
    first = job.variants[0].task
    vectors = TaskVectors(first, inputs)
    works = []
    for variant in job.variants:
        with _Naming(variant.task):
            works.append(_Work(variant.task, variant.place, begin(variant.task, vectors)))
    held: list[Delta] = []
    for index in range(len(vectors)):
        started = time.perf_counter()
        delta = vectors[index]
        reading = time.perf_counter() - started
        if job.needs is not None:
            held.append(delta)
        counts = [work.count(delta) for work in works]
        shared, decomposing = _shared_directions(
            vectors.recall, delta, [count for count in counts if count is not None]
        )
        for work, count in zip(works, counts, strict=True):
            started = time.perf_counter()
            with _Naming(work.task):
                work.take(index, delta, shared)
            work.seconds += reading + time.perf_counter() - started + (0.0 if count is None else decomposing)
    written, measured = [], []
    weighed = WeighedDeltas(held, first.weights)
    gram = gram_of(weighed[:]) if job.needs is not None and "gram" in job.needs else None
    for work in works:
        started = time.perf_counter()
        with _Naming(work.task):
            merged = work.merged(vectors)
        work.seconds += time.perf_counter() - started
        if job.needs is not None:
            with _Naming(work.task):
                measured.append(statistics_of(merged, weighed, job.needs, gram, lambda: vectors.base, vectors.recall))
        written.append(store(work.place, merged))
    for task in _by_directions((0, variant.task) for variant in job.variants):
        note_directions(vectors.recall, task)
    seconds = tuple(work.seconds for work in works)
    return MergedTensor(tuple(written), seconds, process_usage()[0], tuple(measured))


def _shared_directions(recall: Recall, delta: Delta, counts: Sequence[int]) -> tuple[Directions | None, float]:
    """Leading directions, as many as the variant with the largest count needs, and the seconds they took."""
    started = time.perf_counter()
    if not counts:
        return None, 0.0
    return recall.top_directions(delta, max(counts)), time.perf_counter() - started


_NOT_COMPARED = frozenset({"method_name", "scale", "scaling", "outputs", "route", "cost"})
"""Fields that may differ between two tasks with the same merged task vector: the scale is applied later."""


def alike(one: TensorTask, other: TensorTask) -> bool:
    """Whether two tasks of one tensor merge to the same task vector."""
    return all(
        getattr(one, key.name) == getattr(other, key.name)
        for key in fields(TensorTask)
        if key.compare and key.name not in _NOT_COMPARED
    )


class _Naming:
    """Turns any failure of a method into an error that names method and tensor."""

    def __init__(self, task: TensorTask) -> None:
        self._task = task

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MergeometryError):
            raise ExecutionError(
                f"a tensor could not be merged: {type(error).__name__}: {in_one_line(error)}",
                tensor=self._task.name,
                hint=f"method {self._task.method_name}",
            ) from error
