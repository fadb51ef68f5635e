"""Merges one tensor by all methods at once: read once, decomposed once, each result into its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.comparison.scratch import Place, Stored, room, store
from mergeometry.errors import ExecutionError, MergeometryError
from mergeometry.execution.compute import load_delta, process_usage
from mergeometry.execution.measuring import gram_of, statistics_of
from mergeometry.execution.refining import WeighedDeltas, refined
from mergeometry.execution.task_reader import TaskReader
from mergeometry.linalg.svd import top_directions
from mergeometry.methods.base import Directional, Linear
from mergeometry.methods.ranks import rank_of
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.scaling import Statistics
from mergeometry.scaling.statistics import Need
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, Directions, LowRank


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to merge a tensor, the entries that merge it so, and where the result goes."""

    task: TensorTask
    users: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class MergeJob:
    """All ways to merge one tensor; what a worker receives."""

    name: str
    variants: tuple[Variant, ...]
    labels: tuple[str, ...]
    needs: tuple[Need, ...] | None = None
    """What rules for the scale ask for; None where no merge is measured."""


@dataclass(frozen=True, slots=True)
class MergedTensor:
    """Where each variant's result is, and its seconds by itself: reading and decomposing are counted for each."""

    stored: tuple[Stored, ...]
    seconds: tuple[float, ...]
    peak_memory: int
    statistics: tuple[Statistics, ...] = ()
    """Of each variant, where rules for the scale ask for them."""


def merge_jobs(
    plans: Sequence[Plan], folder: Path, needs: tuple[Need, ...] | None = None
) -> tuple[list[MergeJob], dict[Path, int]]:
    """One job for each tensor that any plan merges, the costliest first, and the scratch files with their sizes.

    Entries that merge a tensor alike share one variant; a file holds what one set of entries uses, so that it can go
    when these are done. ``needs`` is what rules for the scale ask for, None where nothing is measured.
    """
    sizes: dict[Path, int] = {}
    labels = tuple(model.label for model in plans[0].models)
    jobs = []
    for tasks in zip(*(plan.tasks for plan in plans), strict=True):
        groups: list[tuple[TensorTask, list[int]]] = []
        for user, task in enumerate(tasks):
            if task.method is None:
                continue
            known = next((users for other, users in groups if _alike(task, other)), None)
            if known is None:
                groups.append((task, [user]))
            else:
                known.append(user)
        variants = []
        for task, users in groups:
            file = folder / ("-".join(map(str, users)) if len(users) < len(plans) else "all")
            shape = tuple(reversed(task.base.shape)) if task.transposed else tuple(task.base.shape)
            variants.append(Variant(task, tuple(users), Place(file, sizes.get(file, 0), shape)))
            sizes[file] = sizes.get(file, 0) + room(shape)
        if variants:
            jobs.append(MergeJob(tasks[0].name, tuple(variants), labels, needs))
    return sorted(jobs, key=lambda job: (-sum(v.task.cost.seconds for v in job.variants), job.name)), sizes


def merge_tensor(job: MergeJob) -> MergedTensor:
    """Merge one tensor by all its variants.

    Raises:
        SourceError: an input changed or ended early.
        NumericalError: an input is not finite, or a decomposition failed.
        ExecutionError: a method failed.
    """
    with TensorReader() as reader:
        return _merged(job, TaskReader(reader, job.labels))


@dataclass(slots=True)
class _Work:
    """What has been gathered for one variant so far."""

    variant: Variant
    directions: list[Directions] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    total: Tensor | None = None
    seconds: float = 0.0

    def take(self, index: int, delta: Delta, shared: Directions | None) -> None:
        """Keep of one model's task vector what the method needs: its directions, its share of a sum, or all of it."""
        task = self.variant.task
        method, weight = task.method, task.weights[index]
        if isinstance(method, Directional):
            self.directions.append(_cut(method, delta, len(task.sources), shared).scaled(weight))
        elif isinstance(method, Linear) and not task.adapters_only:
            dense = delta.dense() if isinstance(delta, LowRank) else delta
            self.total = torch.zeros_like(dense) if self.total is None else self.total
            self.total.add_(dense, alpha=method.coefficients(task.weights)[index])
        else:
            self.deltas.append(delta)

    def merged(self, load: Callable[[int], Delta]) -> Delta:
        """The merged task vector, once every model's was taken; refinements ask ``load`` for task vectors again."""
        task = self.variant.task
        if isinstance(task.method, Directional):
            found: Delta = task.method.merge(self.directions)
        elif self.total is not None:
            found = self.total
        else:
            assert task.method is not None
            found = task.method.apply(self.deltas, task.weights)
        return refined(task, found, load)


def _merged(job: MergeJob, inputs: TaskReader) -> MergedTensor:
    works = [_Work(variant) for variant in job.variants]
    first = job.variants[0].task
    base = None if first.adapters_only else inputs.numbers("base", first.base)
    held: list[Delta] = []
    for index in range(len(first.sources)):
        started = time.perf_counter()
        delta = load_delta(first, index, inputs, base)
        reading = time.perf_counter() - started
        if job.needs is not None:
            held.append(delta)
        shared, decomposing = _shared_directions(job.variants, delta)
        for work in works:
            started = time.perf_counter()
            with _Naming(work.variant.task):
                work.take(index, delta, shared)
            directional = isinstance(work.variant.task.method, Directional)
            work.seconds += reading + time.perf_counter() - started + (decomposing if directional else 0.0)
    found, measured = [], []
    weighed = WeighedDeltas(held.__getitem__, first.weights)
    gram = gram_of(weighed[:]) if job.needs is not None and "gram" in job.needs else None
    for work in works:
        started = time.perf_counter()
        with _Naming(work.variant.task):
            merged = work.merged(lambda index: load_delta(first, index, inputs, base))
        work.seconds += time.perf_counter() - started
        if job.needs is not None:
            with _Naming(work.variant.task):
                measured.append(statistics_of(merged, weighed, job.needs, gram))
        found.append(store(work.variant.place, merged))
    seconds = tuple(work.seconds for work in works)
    return MergedTensor(tuple(found), seconds, process_usage()[0], tuple(measured))


def _shared_directions(variants: Iterable[Variant], delta: Delta) -> tuple[Directions | None, float]:
    """Leading directions for the method that asks for most of them, and how long they took."""
    started = time.perf_counter()
    asked = [_count(v.task.method, delta, len(v.task.sources)) for v in variants if _shares(v.task.method)]
    if not asked:
        return None, 0.0
    return top_directions(delta, max(asked)), time.perf_counter() - started


def _cut(method: Directional, delta: Delta, tasks: int, shared: Directions | None) -> Directions:
    """As many of the shared directions as the method asks for; a method that finds its own way to them is let."""
    if shared is None or not _shares(method):
        return method.directions(delta, tasks)
    return shared.leading(_count(method, delta, tasks))


def _shares(method: object) -> bool:
    return isinstance(method, Directional) and type(method).directions is Directional.directions


def _count(method: object, delta: Delta, tasks: int) -> int:
    assert isinstance(method, Directional)
    return rank_of(method.rank, tuple(delta.shape), tasks, delta.rank if isinstance(delta, LowRank) else None)


def _alike(one: TensorTask, other: TensorTask) -> bool:
    """Whether two tasks of one tensor merge to the same task vector; the scale comes later."""
    same = {
        "method_name": "",
        "cost": other.cost,
        "scale": other.scale,
        "scaling": other.scaling,
        "outputs": other.outputs,
    }
    return replace(one, **same) == replace(other, method_name="")


class _Naming:
    """Turns any failure of a method into an error that names method and tensor."""

    def __init__(self, task: TensorTask) -> None:
        self._task = task

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MergeometryError):
            raise ExecutionError(
                f"a tensor could not be merged: {type(error).__name__}: {error}",
                tensor=self._task.name,
                hint=f"method {self._task.method_name}",
            ) from error
