"""What a run of learning would read and take, without building a model, for `mergeometry plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mergeometry.encoders.heads import read_head, width_of
from mergeometry.encoders.pooling import pooling_notes
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.inputs import read_unlabelled
from mergeometry.learning.estimate import estimate
from mergeometry.learning.merged import check_parts
from mergeometry.learning.output_layer import check_output
from mergeometry.learning.precision import dtype_of
from mergeometry.plan.plan import Plan
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.recipe.inputs import AdaptTask
from mergeometry.synthetic import refuse_unmakeable


def dry_run(plan: Plan, section: AdaptSection) -> dict[str, Any]:
    """Read every task's data and head, and estimate time and memory.

    Raises:
        MergeometryError: data or heads are missing or malformed, or the method has nothing to learn.
    """
    check_parts(plan)
    kind = runnable_kind(plan.base, section.encoder)
    check_output(plan.recipe, kind)
    data = [(task, _items(task, kind)) for task in section.tasks]
    for task in section.tasks:
        if task.head is not None:
            read_head(task.head, task.name, width_of(plan.base.config))
    heads = {task.name: task.head for task in section.tasks}
    notes = pooling_notes(section.encoder, heads)
    expected = estimate(plan, section, dtype_of(section.precision, torch.device("cpu")))
    return {
        "objective": section.objective,
        "coefficients": section.coefficients,
        "rotation": section.resolved_rotation,
        "steps": section.steps,
        "tasks": [
            {"name": task.name, "items": items, "kind": what, "notes": list(told)} for task, (items, what, told) in data
        ],
        "notes": notes,
        "memory_bytes": expected.memory,
        "seconds": expected.seconds,
    }


def _items(task: AdaptTask, kind: str) -> tuple[int, str, Sequence[str]]:
    """How many inputs a task has, what they are, and notes on them; those to be made are not made yet."""
    if (count := task.data.synthetic) is None:
        inputs = read_unlabelled(task, "images" if kind == "image" else "texts")
        return len(inputs.items), inputs.kind, inputs.notes
    refuse_unmakeable(kind, task.name, head=task.head is not None)
    if kind == "causal":
        return count, "texts", ("to be written by the model itself",)
    if kind == "image":
        return count, "images", ("to be drawn at random: clouds, shapes, strokes and fractals",)
    return count, "texts", ("to be drawn from the documentation of Python's standard library",)
