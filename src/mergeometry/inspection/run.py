"""Measures every tensor of a plan, side by side, each input read once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.conventions.model_kinds import kind_of_config
from mergeometry.digests import Algorithm
from mergeometry.execution.executor import LOCAL, Demands, Executor
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.workers import MemoryLimit, workers_within
from mergeometry.inspection.budget import Budget, affordable
from mergeometry.inspection.cost import measure_cost
from mergeometry.inspection.figures import Measured, MeasureJob
from mergeometry.inspection.folds import rank_of_folds, sampled_names
from mergeometry.inspection.measure import measure
from mergeometry.inspection.result import Inspection, Model, Problem, TensorFigures
from mergeometry.inspection.totals import totals_of
from mergeometry.inspection.verdict import verdict_on
from mergeometry.plan.machine import PROCESS_BYTES
from mergeometry.plan.plan import Plan, tensors_of
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import versions, weights_digest
from mergeometry.sources import Adapter, Checkpoint

Progress = Callable[[str, float, float, str], None]
"""Called with a finished tensor's name, the seconds of work done and of all, estimated, and a count such as 3/40."""


def inspect_plan(
    plan: Plan,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
) -> Inspection:
    """Measure how the task vectors of a plan lie to each other, before they are merged.

    Raises:
        RecipeError: fewer than one worker is asked for, or it needs more memory than there is.
        SourceError: an input changed or ends early.
        ExecutionError: a worker dies.
    """
    inspection, _ = measure_all(
        plan, workers=workers, progress=progress, memory_limit=memory_limit, merged=False, executor=executor
    )
    return inspection


def measure_all(
    plan: Plan,
    *,
    workers: int | None,
    progress: Progress | None,
    merged: bool,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
    budget: Budget | None = None,
) -> tuple[Inspection, dict[tuple[str, str], str]]:
    """The same with the digests of what was read; the plan's last model is the merged one if ``merged``.

    With a ``budget`` only those tensors are measured that fit into it.
    """
    started = time.perf_counter()
    # Of a merge nothing is advised any more.
    telling = () if merged else sampled_names(plan)
    every = measure_jobs(plan, merged=merged, sampled=telling)
    jobs = every if budget is None else affordable(every, budget, merged=merged)
    costs = {job.task.name: measure_cost(job.task, merged=merged) for job in jobs}
    total, largest = sum(cost.seconds for cost in costs.values()), sorted(cost.memory for cost in costs.values())[::-1]
    count = workers_within(
        workers,
        total,
        lambda many: (many > 1) * PROCESS_BYTES + sum(PROCESS_BYTES + memory for memory in largest[:many]),
        memory_limit=memory_limit,
        executor=executor,
    )
    done: list[tuple[MeasureJob, Measured]] = []
    seconds = 0.0
    demands = Demands[MeasureJob](
        name=lambda job: job.task.name, memory=lambda job: PROCESS_BYTES + costs[job.task.name].memory
    )
    with closing(side_by_side(measure, deque(jobs), min(count, len(jobs)), executor, demands)) as finished:
        for job, result in finished:
            done.append((job, result))
            seconds += costs[job.task.name].seconds
            if progress is not None:
                progress(job.task.name, seconds, total, f"{len(done)}/{len(jobs)}")
    places = {name: place for place, name in enumerate(task.name for task in _tasks(plan))}
    done.sort(key=lambda one: places[one[0].task.name])
    figures = [result.figures for _, result in done]
    stacked = any(task.slices for task in plan.tasks)
    read = {} if stacked else {(label, name): digest for _, result in done for label, name, digest in result.read}
    models = [_model(model, read, plan.recipe.output.digest) for model in (plan.base, *plan.models)]
    output = models.pop() if merged else None
    tensors = tuple(one for one in figures if isinstance(one, TensorFigures))
    inspection = Inspection(
        version=versions()["mergeometry"],
        recipe=plan.recipe.canonical(),
        base=models[0],
        models=tuple(models[1:]),
        totals=totals_of(tensors, [model.label for model in models[1:]]),
        tensors=tensors,
        problems=tuple(one for one in figures if isinstance(one, Problem)),
        notes=(*plan.notes, *plan.sidecar_notes()),
        seconds=time.perf_counter() - started,
        output=output,
        left_out=len(every) - len(jobs),
        model_kind=kind_of_config(plan.base.config),
        folded=rank_of_folds(plan, telling, {job.task.name: result.verdicts for job, result in done if job.sampled}),
    )
    return replace(inspection, verdict=verdict_on(inspection)), read


def measure_jobs(plan: Plan, *, merged: bool, sampled: Collection[str] = ()) -> list[MeasureJob]:
    """The tensors to measure, the costliest first, so that no big one is left to run alone."""
    labels = tuple(model.label for model in plan.models)
    names = LayerNames(plan.base.tensors, plan.base.config)
    jobs = []
    for task in plan.tasks:
        for piece in pieces_of(task):
            # A tensor that no model changes has nothing to measure, and one without entries neither.
            sources = piece.sources[: len(piece.sources) - merged]
            if piece.method is not None and piece.base.elements and any(source is not None for source in sources):
                place, by = _place(names, task.name), plan.recipe.output.digest
                telling = piece.name in sampled
                jobs.append(MeasureJob(piece, labels, *place, merged=merged, algorithm=by, sampled=telling))
    return sorted(jobs, key=lambda job: (-measure_cost(job.task, merged=merged).seconds, job.task.name))


def _tasks(plan: Plan) -> Sequence[TensorTask]:
    return [piece for task in plan.tasks for piece in pieces_of(task)]


def _place(names: LayerNames, name: str) -> tuple[str, int | None, str]:
    """The tower, the layer, and the module's name within it."""
    place, number = names.place(name), names.number(name)
    module = name.removesuffix(".weight")
    if place is None or number is None:
        return "", None, module
    tower = place.tower.name
    prefix = f"{tower}.{number}."
    return (tower, number, module[len(prefix) :]) if module.startswith(prefix) else ("", None, module)


def _model(model: Checkpoint | Adapter, read: dict[tuple[str, str], str], algorithm: Algorithm) -> Model:
    digests = [
        (info.name, info.code, info.shape, read[model.label, info.name])
        for info in tensors_of(model)
        if (model.label, info.name) in read
    ]
    kind = "adapter" if isinstance(model, Adapter) else "checkpoint"
    return Model(model.label, str(model.path), kind, weights_digest(digests, algorithm) if digests else "")
