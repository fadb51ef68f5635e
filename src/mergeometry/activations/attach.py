"""Gives a plan's methods the collected moments, and the norms of merged layers to methods that compare layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mergeometry.activations.collect import Moments
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.errors import MismatchError
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.execution.threads import one_thread
from mergeometry.linalg.norms import frobenius
from mergeometry.methods.base import Activational, accumulate
from mergeometry.plan.choice import other_of
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.plan.values import MethodValues
from mergeometry.sources import TensorReader


def attach(plan: Plan, moments: Moments) -> tuple[Plan, list[str]]:
    """Return the plan with moments attached to its methods, and a note on the matrices that no model runs.

    The recipe's `other` merges those matrices.

    Raises:
        MismatchError: `other` cannot merge one of them.
    """
    tasks, idle, refused = [], [], []
    layers = LayerNames(plan.base.tensors, plan.base.config)
    for task in plan.tasks:
        if not isinstance(task.method, Activational):
            tasks.append(task)
        elif task.name in moments.stored:
            tasks.append(replace(task, method=task.method.with_moments(moments.stored[task.name])))
        else:
            idle.append(task.name)
            try:
                tasks.append(_by_other(plan, task, layers))
            except ValueError as error:
                refused.append(f"tensor {task.name!r}: {error}")
    if refused:
        raise MismatchError(
            f"`other` ({other_of(plan.recipe).name}) cannot merge the matrices that the model does not run", refused,
            hint="give them another method: tensors: [{match: '*NAME*', method: average}]",
        )  # fmt: skip
    notes = []
    if idle:
        shown = ", ".join(idle[:3]) + (", ..." if len(idle) > 3 else "")
        count = "1 matrix" if len(idle) == 1 else f"{len(idle)} matrices"
        notes.append(f"without activations, and merged by {other_of(plan.recipe).name}: {count}, {shown}")
    return _with_norms(replace(plan, tasks=tuple(tasks))), notes


def _by_other(plan: Plan, task: TensorTask, layers: LayerNames) -> TensorTask:
    choice = other_of(plan.recipe)
    method, _ = MethodValues(choice, plan.recipe.models, "other").at(task.name, layers.place(task.name))
    method.check(len(task.sources), task.shape, task.weights)
    if task.route == "factors" and not method.stays_low_rank:
        raise ValueError("its result is not low-rank, so an adapter cannot hold it")
    names = [model.label for model in plan.models]
    return replace(task, method=method.for_tensor(plan.recipe.seed, task.name, names), method_name=choice.name)


def _with_norms(plan: Plan) -> Plan:
    """Give methods that compare layers each layer's merged norm over the mean of its type; merges every such layer."""
    norms = dict(_norms(plan))
    types: dict[object, list[float]] = {}
    for task in plan.tasks:
        if task.name in norms:
            types.setdefault(_type(task), []).append(norms[task.name])
    tasks = []
    for task in plan.tasks:
        if task.name not in norms:
            tasks.append(task)
            continue
        norms_of_type = types[_type(task)]
        mean = sum(norms_of_type) / len(norms_of_type)
        assert isinstance(task.method, Activational)
        tasks.append(replace(task, method=task.method.for_layer(norms[task.name] / mean if mean else 1.0)))
    return replace(plan, tasks=tuple(tasks))


def _norms(plan: Plan) -> Iterator[tuple[str, float]]:
    labels = [model.label for model in plan.models]
    with one_thread(), TensorReader() as reader:
        for task in plan.tasks:
            if not (isinstance(task.method, Activational) and task.method.compares_layers):
                continue
            vectors = TaskVectors(task, TaskReader(reader, labels))
            yield task.name, frobenius(accumulate(task.method.begin(task.weights), len(vectors), vectors.__getitem__))


def _type(task: TensorTask) -> object:
    """What layers of one type share: the method, the shape, and a name that differs only in its numbers."""
    return task.method, task.base.shape, re.sub(r"\d+", "0", task.name)
