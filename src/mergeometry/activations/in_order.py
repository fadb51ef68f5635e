"""The inputs that reach each layer once the layers before it are merged: for methods that follow the merge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.activations.attach import attach
from mergeometry.activations.collect import MOMENTS_BYTES, Moments, gathered, layers_of, refuse_none
from mergeometry.activations.layers import merged_by_activations
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.encoders import Encoder
from mergeometry.encoders.sites import sites_of
from mergeometry.errors import DataError
from mergeometry.execution.global_scale import measure_jobs
from mergeometry.execution.measuring import scale_for
from mergeometry.execution.moments import StoredMoments
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors, merged_delta
from mergeometry.execution.threads import one_thread
from mergeometry.inputs import UnlabelledData
from mergeometry.methods.base import Activational
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import TensorReader
from mergeometry.values import LowRank


def follows_merge(plan: Plan) -> bool:
    """Whether a method of the plan takes the inputs of layers whose predecessors are merged."""
    return any(task.method.follows_merge for task in plan.tasks if isinstance(task.method, Activational))


def stages_of(plan: Plan) -> list[tuple[TensorTask, ...]]:
    """The merged tensors before the layers, of each layer, and after them.

    Raises:
        DataError: the model has no layers, or layers of several towers, of which none comes first.
    """
    names = LayerNames(plan.base.tensors, plan.base.config)
    if names.main is None:
        raise DataError(
            "a merge layer by layer needs one row of layers that follow each other, and the model has none or several",
            file=plan.base.path,
            hint="regmean merges all layers at once",
        )
    stages: list[list[TensorTask]] = [[] for _ in range(names.main.count + 2)]
    for task in plan.tasks:
        place = names.place(task.name)
        if task.method is None or place is None:
            continue
        last = len(stages) - 1 if place.after else 0
        stages[last if place.layer is None else place.layer + 1].append(task)
    return [tuple(stage) for stage in stages]


def collect_in_order(
    plan: Plan, encoder: Encoder, data: Sequence[UnlabelledData], folder: Path, budget: int = MOMENTS_BYTES
) -> Moments:
    """Store the moments of each layer's inputs, as each task's own layer sees them behind the merged layers before it.

    Stage by stage: the models run with what is merged so far, and their own weights in the stage; then it is merged.
    Every merged weight is held in memory until the last stage is done.

    Raises:
        DataError: the layers do not follow each other, the model runs none of them, or the data do not fit it.
        NumericalError: a model's activations are not finite.
        OSError: the folder cannot be written to.
    """
    if measure_jobs(plan):
        raise DataError(
            "a merge layer by layer needs its scale before the last layer is merged",
            hint="give `scale` as a number, or as a rule per tensor",
        )
    parameters = {site.name: site for site in sites_of(plan, encoder)}
    merged: dict[str, Tensor] = {}
    stored: dict[str, StoredMoments] = {}
    rows: dict[str, int] = {}
    for number, tasks in enumerate(stages_of(plan)):
        stage = replace(plan, tasks=tasks)
        if merged_by_activations(stage) and layers_of(stage, encoder):
            (folder / str(number)).mkdir()
            sites = [parameters[task.name] for task in tasks if task.name in parameters]
            found = gathered(stage, encoder, data, folder / str(number), budget, sites, merged)
            stored |= found.stored
            rows = {label: max(count, rows.get(label, 0)) for label, count in found.rows.items()}
        informed, _ = attach(stage, Moments(stored, rows))
        merged |= {parameters[name].parameter: weight for name, weight in _merged(informed) if name in parameters}
    moments = Moments(stored, rows)
    refuse_none(moments)
    return moments


def _merged(plan: Plan) -> Iterator[tuple[str, Tensor]]:
    labels = [model.label for model in plan.models]
    with one_thread(), torch.inference_mode(), TensorReader() as reader:
        for task in plan.tasks:
            yield task.name, _weight(task, TaskReader(reader, labels))


def _weight(task: TensorTask, files: TaskReader) -> Tensor:
    """The merged weight in float32, as the base stores it."""
    if task.slices:
        return torch.cat([_weight(piece, files).reshape(-1) for piece in task.slices]).reshape(task.base.shape)
    vectors = TaskVectors(task, files)
    delta, deltas = merged_delta(task, vectors)
    scale = scale_for(task, delta, deltas)
    update = delta.dense() if isinstance(delta, LowRank) else delta.float()
    return vectors.stored_base.float().add(update.mT if task.transposed else update, alpha=scale)
