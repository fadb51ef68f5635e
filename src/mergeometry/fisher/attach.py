"""Gives a plan's methods the Fisher information that was collected."""

from __future__ import annotations

from dataclasses import replace

from mergeometry.execution.fishers import StoredFishers
from mergeometry.fisher.collect import Fishers
from mergeometry.methods.base import Informed
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import TensorInfo


def attach_fishers(plan: Plan, fishers: Fishers) -> tuple[Plan, list[str]]:
    """Return the plan with the information attached to its methods, and a note on tensors that no model runs.

    Those have no information, and are merged to their plain mean.
    """
    norms = tuple(one.norm for one in fishers.models.values())
    tasks = tuple(_informed(task, fishers.stored.get(task.name), norms) for task in plan.tasks)
    without = [name for name, infos in fishers.stored.items() if not any(infos)]
    notes = []
    if without:
        count = "1 tensor" if len(without) == 1 else f"{len(without)} tensors"
        shown = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
        notes.append(f"no model's predictions depend on {count}, whose plain mean is taken: {shown}")
    return replace(plan, tasks=tasks), notes


def _informed(task: TensorTask, infos: tuple[TensorInfo | None, ...] | None, norms: tuple[float, ...]) -> TensorTask:
    if infos is None or not isinstance(task.method, Informed):
        return task
    fishers = StoredFishers(infos, norms, task.base.shape, task.transposed)
    slices = tuple(_informed(piece, tuple(_part(info, task, piece) for info in infos), norms) for piece in task.slices)
    return replace(task, method=task.method.with_information(fishers), slices=slices)


def _part(info: TensorInfo | None, whole: TensorTask, piece: TensorTask) -> TensorInfo | None:
    """The information of a matrix of a stacked tensor, which lies where the matrix lies in the tensor."""
    if info is None:
        return None
    size, own = info.dtype.itemsize, piece.base.dtype.itemsize
    start = info.start + (piece.base.start - whole.base.start) // own * size
    return replace(info, shape=piece.base.shape, start=start, nbytes=piece.base.elements * size)
