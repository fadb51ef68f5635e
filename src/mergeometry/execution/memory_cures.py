"""What makes a merge fit that takes too much memory: another method, or fewer steps, for its largest tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mergeometry.methods import registry
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.recipe.scale import ScaleRule

_IN_PIECES = "average"
"""A method that merges any full tensor piece by piece."""

_SHOWN = 3


def cure_for(plan: Plan, limit: int) -> str:
    """The least change of the recipe that makes one worker fit into ``limit`` bytes; empty if none does."""
    room = limit - (plan.peak_memory(1) - max(task.cost.memory for task in plan.tasks))
    large = [task for task in plan.tasks if task.cost.memory > room]
    large.sort(key=lambda task: -task.cost.memory)
    for words, changed in _changes(plan, large):
        if all(task.cost.memory <= room for task in changed):
            return words
    return ""


def _changes(plan: Plan, large: Sequence[TensorTask]) -> Iterator[tuple[str, list[TensorTask]]]:
    """Changes of the recipe, the least first, with the large tasks as they then are."""
    recipe = plan.recipe
    refined = bool(recipe.refine) and any(task.refinements for task in large)
    scaled = isinstance(recipe.scale, ScaleRule)
    if refined:
        yield "leave out `refine`", [replace(task, refinements=()) for task in large]
    if scaled:
        yield "give `--scale` a number", [replace(task, scaling=None) for task in large]
    rules = _rules(large, ", scale: 1" if scaled else "")
    words = f"merge the largest tensors piece by piece: {rules}"
    in_pieces = [_in_pieces(task) for task in large]
    yield words, in_pieces
    if refined:
        yield f"leave out `refine`, and {words}", [replace(task, refinements=()) for task in in_pieces]


def _in_pieces(task: TensorTask) -> TensorTask:
    """A task by a method that merges piece by piece, at a scale that is a number."""
    if task.method is None:
        return task
    return replace(task, method=registry.build(_IN_PIECES, {}), method_name=_IN_PIECES, scaling=None)


def _rules(large: Sequence[TensorTask], more: str) -> str:
    """The rules of a recipe that give these tensors another method; those of all layers share one."""
    globs = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", task.name) for task in large))
    if len(large) == 1:
        globs = [large[0].name]
    listed = ", ".join(f"{{match: {glob!r}, method: {_IN_PIECES}{more}}}" for glob in globs[:_SHOWN])
    return f"`tensors: [{listed}]`" + (f", and {len(globs) - _SHOWN} more" if len(globs) > _SHOWN else "")
