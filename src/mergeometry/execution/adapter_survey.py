"""A pass over all tensors before an adapter is laid out: what the merge changes, and which rank that needs."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from mergeometry.conventions.ties import is_output, is_table
from mergeometry.deferred import Tensor, torch
from mergeometry.execution.demands import MEASURING
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.fallback import on_device
from mergeometry.execution.measuring import UndefinedScaleWarning, scale_for
from mergeometry.execution.pieces import merged_pieces
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.task_pieces import Pieces
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors, merged_delta
from mergeometry.linalg.inner import inner
from mergeometry.linalg.spectrum import singular_values
from mergeometry.linalg.svd import DecompositionFallbackWarning
from mergeometry.plan.adapter_revision import Finding, revised
from mergeometry.plan.placement import CPU, Placement
from mergeometry.plan.plan import Plan
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe import AdapterOutput
from mergeometry.sources import TensorReader
from mergeometry.values import LowRank


@dataclass(frozen=True, slots=True)
class SurveyJob:
    """One tensor to merge and measure, as a worker receives it."""

    task: TensorTask
    labels: tuple[str, ...]
    spectrum: bool
    """Whether its singular values are needed."""
    device: str = "cpu"


def surveyed(
    plan: Plan,
    workers: int,
    progress: Callable[[TensorTask], None] | None = None,
    *,
    spectra: bool = False,
    placement: Placement = CPU,
    executor: Executor = LOCAL,
) -> Plan:
    """The plan with what its adapter holds decided by the merged values; unchanged where nothing depends on them.

    With ``spectra`` the singular values of all matrices are measured, which tell what any rank keeps.

    Raises:
        NumericalError: an input is not finite, or a decomposition fails.
        RecipeError: the merge changes nothing that the adapter may hold.
        MergeometryError: a tensor cannot be merged.
    """
    wanted = plan.recipe.output.adapter
    if plan.form is None or not isinstance(wanted, AdapterOutput) or not wanted.measures or plan.form.survey:
        return plan
    labels = tuple(model.label for model in plan.models)
    jobs = [
        SurveyJob(task, labels, (spectra or wanted.rank == "auto") and len(task.outputs) == 2, placement.of(task))
        for task in plan.surveyed_tasks()
    ]  # fmt: skip
    findings = {}
    with closing(side_by_side(survey, deque(jobs), min(workers, len(jobs)), executor, MEASURING)) as finished:
        for job, finding in finished:
            findings[job.task.name] = finding
            if progress:
                progress(job.task)
    return revised(plan, {task.name: findings[task.name] for task in plan.surveyed_tasks()})


def survey(job: SurveyJob) -> Finding:
    """Merge one tensor, measure it, and discard it.

    Raises:
        SourceError: an input changed or ends early.
        NumericalError: an input is not finite, or a decomposition fails.
    """
    with TensorReader() as reader, warnings.catch_warnings():
        # The merge that is written warns again.
        warnings.simplefilter("ignore", DecompositionFallbackWarning)
        warnings.simplefilter("ignore", UndefinedScaleWarning)
        return on_device(job.device, reader, (job.labels,), lambda inputs: _finding(job, inputs, reader))


def _finding(job: SurveyJob, inputs: TaskReader, reader: TensorReader) -> Finding:
    task = job.task
    if task.route in ("chunks", "rows", "passes") and inputs.device.type == "cpu":
        return _in_pieces(task, inputs, reader)
    energy, values, rows = 0.0, (), None
    for piece in pieces_of(task):
        delta, deltas = merged_delta(piece, TaskVectors(piece, inputs))
        scale = scale_for(piece, delta, deltas)
        energy += scale**2 * inner(delta, delta)
        if isinstance(delta, Tensor) and _is_vocabulary(task):
            rows = tuple((scale * delta).any(dim=1).nonzero()[:, 0].tolist())
        if job.spectrum:
            matrix = delta if isinstance(delta, LowRank) else delta.flatten(1)
            values = tuple((abs(scale) * singular_values(matrix)).tolist())
    return Finding(energy, values, rows)


def _in_pieces(task: TensorTask, inputs: TaskReader, reader: TensorReader) -> Finding:
    energy, rows = 0.0, set[int]()
    for first, _, delta in merged_pieces(Pieces(task, inputs, reader)):
        energy += float(delta.double().square().sum())
        if _is_vocabulary(task) and task.scale:
            changed = (delta.nonzero()[:, 0] + first) // task.base.shape[1]
            rows.update(torch.unique(changed).tolist())
    return Finding(task.scale**2 * energy, (), tuple(sorted(rows)) if _is_vocabulary(task) else None)


def _is_vocabulary(task: TensorTask) -> bool:
    return len(task.base.shape) == 2 and not task.transposed and (is_table(task.name) or is_output(task.name))
