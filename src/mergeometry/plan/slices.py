"""Tasks for the matrices that one tensor holds: stacked experts, each merged as if it were a tensor of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mergeometry.conventions.experts import Stack
from mergeometry.dtypes import item_size
from mergeometry.methods import registry
from mergeometry.recipe.data import ACTIVATIONS
from mergeometry.sink import OutputTensor
from mergeometry.sources import TensorInfo
from mergeometry.sources.updates import ExpertsUpdate

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.plan.tasks import Source, TensorTask
    from mergeometry.recipe import Recipe


def can_slice(recipe: Recipe, sources: Sequence[Source]) -> bool:
    """Whether a stacked tensor can be merged matrix by matrix: every model changes it whole, or expert by expert."""
    whole = all(source is None or isinstance(source, TensorInfo | ExpertsUpdate) for source in sources)
    return whole and recipe.adapt is None and not recipe.output.adapter


def note_on_whole(recipe: Recipe, tasks: Sequence[TensorTask]) -> list[str]:
    """What to know about stacked experts that are not merged matrix by matrix."""
    merged = [task for task in tasks if task.method is not None]
    if not merged:
        return []
    why = "adapters change them"
    if recipe.adapt is not None:
        why = "`adapt:` learns for tensors that hold one matrix"
    elif registry.find(recipe.method.name).merges_by == ACTIVATIONS:
        why = f"{recipe.method.name} needs the inputs of each matrix, which are not collected"
    by = ", ".join(sorted({task.method_name for task in merged}))
    return [f"{len(merged)} tensors hold stacked experts and are each merged as a whole, by {by}: {why}"]


def slices_of(task: TensorTask, stack: Stack, bind: Callable[[str], Method]) -> tuple[TensorTask, ...]:
    """One task per matrix of a stacked tensor, in the order in which they lie; ``bind`` gives a name its method."""
    slices = []
    for place in range(stack.count):
        name = f"{task.name}{stack.suffix(place)}"
        sources = tuple(
            replace(source, rows=(place * stack.rows, (place + 1) * stack.rows))
            if isinstance(source, ExpertsUpdate)
            else _slice(source, stack, place)
            if isinstance(source, TensorInfo)
            else None
            for source in task.sources
        )
        base = _slice(task.base, stack, place)
        outputs = (OutputTensor(name, task.outputs[0].code, base.shape),)
        slices.append(
            replace(
                task, name=name, base=base, sources=sources, method=bind(name), transposed=stack.transposed,
                equal=(), outputs=outputs,
            )
        )  # fmt: skip
    return tuple(slices)


def pieces_of(task: TensorTask) -> tuple[TensorTask, ...]:
    """The tasks that a tensor is measured and compared by: its slices, or itself."""
    return task.slices or (task,)


def _slice(info: TensorInfo, stack: Stack, place: int) -> TensorInfo:
    """Where one matrix lies, under the name of its tensor."""
    nbytes = stack.rows * stack.columns * item_size(info.code)
    shape, start = (stack.rows, stack.columns), info.start + place * nbytes
    return replace(info, shape=shape, start=start, nbytes=nbytes)
