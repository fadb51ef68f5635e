"""A pass over all tensors before the merge, for rules that look at the whole model: one scale for it, or per layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from mergeometry.errors import NumericalError
from mergeometry.execution.demands import MEASURING
from mergeometry.execution.directions_folder import NOT_KEPT, Kept
from mergeometry.execution.directions_store import DirectionsStore
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.fallback import on_device
from mergeometry.execution.known_directions import DirectionsWarning
from mergeometry.execution.measuring import statistics_of
from mergeometry.execution.noting import noting, summed
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.refining import WeighedDeltas
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.execution.task_vectors import TaskVectors, merged_delta
from mergeometry.plan.layer_scales import layer_scales
from mergeometry.plan.placement import CPU, Placement
from mergeometry.plan.plan import Plan
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe.scale import ScaleRule
from mergeometry.scaling import LAYER_RULES, Statistics, UndefinedScale, find, needed_by, scale_by
from mergeometry.scaling.statistics import of_matrices
from mergeometry.sources import TensorReader


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """One tensor to merge and measure, as a worker receives it."""

    task: TensorTask
    labels: tuple[str, ...]
    device: str = "cpu"
    directions: DirectionsStore | None = None
    """Where its decompositions may be known, and are kept."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a tensor, and what the merge that is written will not note again."""

    statistics: Statistics
    notes: tuple[str, ...] = ()


def measure(job: MeasureJob) -> Measured:
    """Merge one tensor, measure it, and discard it.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite, or a decomposition fails.
    """
    with TensorReader() as reader:
        return measured(job, reader)


def measured(job: MeasureJob, reader: Reads) -> Measured:
    """The same with inputs wherever they are."""
    task = job.task
    assert task.scaling is not None
    # Of all else the merge that is written warns again; a damaged file is whole by then.
    with noting(DirectionsWarning) as notes:
        statistics = on_device(
            job.device, reader, (job.labels, None, job.directions), lambda inputs: _statistics(task, inputs)
        )
    return Measured(statistics, tuple(notes))


def _statistics(task: TensorTask, inputs: TaskReader) -> Statistics:
    assert task.scaling is not None
    vectors = TaskVectors(task, inputs)
    merged, deltas = merged_delta(task, vectors)
    needs = needed_by(task.scaling.rule)
    return statistics_of(merged, WeighedDeltas(deltas, task.weights), needs, None, lambda: vectors.base, vectors.recall)


def with_global_scale(
    plan: Plan, workers: int, placement: Placement = CPU, executor: Executor = LOCAL, directions: Kept = NOT_KEPT
) -> Plan:
    """The plan with the scales that its rule computes from all tensors; unchanged where it has no such rule.

    What is to be told of measuring them is added to its notes.

    Raises:
        NumericalError: the rule has no value for these models, or an input is not finite.
        MergeometryError: a tensor cannot be merged.
    """
    jobs = measure_jobs(plan, placement, directions)
    if not jobs:
        return plan
    with closing(side_by_side(measure, deque(jobs), min(workers, len(jobs)), executor, MEASURING)) as finished:
        return scaled_by(plan, list(finished))


def measure_jobs(plan: Plan, placement: Placement = CPU, directions: Kept = NOT_KEPT) -> list[MeasureJob]:
    """The tensors to measure for a rule that looks at all of them; none where there is no such rule."""
    rule = plan.recipe.scale
    if not isinstance(rule, ScaleRule) or rule.per == "tensor":
        return []
    labels = tuple(model.label for model in plan.models)
    tasks = ((task, piece) for task in plan.ordered() for piece in pieces_of(task))
    return [
        MeasureJob(piece, labels, placement.of(piece), directions.of(task))
        for task, piece in tasks
        if piece.scaling is not None
    ]


def scaled_by(plan: Plan, found: Sequence[tuple[MeasureJob, Measured]]) -> Plan:
    """The plan with the scale that its rule computes from what was measured, or with one for each layer.

    Only matrices count, where there are any: other tensors are usually merged by another method.

    Raises:
        NumericalError: the rule has no value for these models.
    """
    rule = plan.recipe.scale
    assert isinstance(rule, ScaleRule)
    plan = replace(plan, notes=(*plan.notes, *summed(note for _, each in found for note in each.notes)))
    if rule.per == "layer":
        named = {job.task.name: each.statistics for job, each in found}
        scales = layer_scales(LAYER_RULES[rule.rule], named, [task.name for task in plan.tasks], rule.factor)
        return replace(plan, tasks=tuple(_scaled(task, scales[task.name]) for task in plan.tasks))
    by_kind = [(job.task.kind == "matrix", each.statistics) for job, each in found]
    try:
        scale = scale_by(find(rule.rule), of_matrices(by_kind), rule.factor)
    except UndefinedScale as error:
        hint = "set `scale` to a number, or to another rule"
        raise NumericalError(f"no scale by this rule: {error}", hint=hint) from error
    return replace(plan, tasks=tuple(_scaled(task, scale) for task in plan.tasks))


def _scaled(task: TensorTask, scale: float) -> TensorTask:
    if task.scaling is None:
        return task
    return replace(task, scale=scale, slices=tuple(_scaled(piece, scale) for piece in task.slices))
