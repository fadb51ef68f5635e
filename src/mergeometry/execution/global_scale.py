"""A pass over all tensors before the merge, for rules that give the whole model one scale."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from mergeometry.errors import NumericalError
from mergeometry.execution.measuring import statistics_of
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.refining import WeighedDeltas
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.execution.task_vectors import TaskVectors, merged_delta
from mergeometry.linalg.svd import DecompositionFallbackWarning
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.recipe.scale import ScaleRule
from mergeometry.scaling import Statistics, UndefinedScale, find, scale_by
from mergeometry.scaling.statistics import of_matrices
from mergeometry.sources import TensorReader


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """One tensor to merge and measure; what a worker receives."""

    task: TensorTask
    labels: tuple[str, ...]


def measure(job: MeasureJob) -> Statistics:
    """Merge one tensor, measure it, and let it go.

    Raises:
        SourceError: an input changed or ended early.
        NumericalError: an input is not finite, or a decomposition failed.
    """
    with TensorReader() as reader:
        return measured(job, reader)


def measured(job: MeasureJob, reader: Reads) -> Statistics:
    """The same with inputs wherever they are."""
    task = job.task
    assert task.scaling is not None
    with warnings.catch_warnings():
        # The merge that is written says so again.
        warnings.simplefilter("ignore", DecompositionFallbackWarning)
        merged, deltas = merged_delta(task, TaskVectors(task, TaskReader(reader, job.labels)))
        return statistics_of(merged, WeighedDeltas(deltas, task.weights), find(task.scaling.rule).needs)


def with_global_scale(plan: Plan, workers: int) -> Plan:
    """The plan with the number that its rule gives all tensors together; as it is where it has no such rule.

    Raises:
        NumericalError: the rule has no value for these models, or an input is not finite.
        MergeometryError: a tensor could not be merged.
    """
    jobs = measure_jobs(plan)
    if not jobs:
        return plan
    with closing(side_by_side(measure, deque(jobs), min(workers, len(jobs)))) as finished:
        return scaled_by(plan, list(finished))


def measure_jobs(plan: Plan) -> list[MeasureJob]:
    """The tensors to measure for a rule that gives all tensors one scale; none where there is no such rule."""
    rule = plan.recipe.scale
    if not isinstance(rule, ScaleRule) or rule.per != "model":
        return []
    labels = tuple(model.label for model in plan.models)
    return [MeasureJob(task, labels) for task in plan.ordered() if task.scaling is not None]


def scaled_by(plan: Plan, statistics: Sequence[tuple[MeasureJob, Statistics]]) -> Plan:
    """The plan with the scale that its rule reads off these statistics.

    Matrices alone say it, where there are any: what is no matrix is merged by another method as a rule.

    Raises:
        NumericalError: the rule has no value for these models.
    """
    rule = plan.recipe.scale
    assert isinstance(rule, ScaleRule)
    found = [(job.task.kind == "matrix", each) for job, each in statistics]
    try:
        scale = scale_by(find(rule.rule), of_matrices(found), rule.factor)
    except UndefinedScale as error:
        hint = "give `scale` a number, or another rule"
        raise NumericalError(f"no scale by this rule: {error}", hint=hint) from error
    tasks = tuple(task if task.scaling is None else replace(task, scale=scale) for task in plan.tasks)
    return replace(plan, tasks=tasks)
