"""The route that a tensor takes from its inputs to the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mergeometry.plan.tasks import TensorTask

Route: TypeAlias = Literal["copy", "chunks", "rows", "passes", "factors", "slices", "whole"]
"""How a tensor is merged.

| route     | what happens                                                                         |
| --------- | ------------------------------------------------------------------------------------ |
| `copy`    | the base's tensor is copied, where no model changes it                               |
| `chunks`  | read, merged and written some entries at a time, in the order in which they lie      |
| `rows`    | the same with whole rows of a matrix                                                 |
| `passes`  | read once or more to measure it; then read again, merged and written as by `chunks`  |
| `factors` | merged without the base, and written as the two factors of an adapter                |
| `slices`  | each of the matrices that it holds, in the order in which they lie, by its own route |
| `whole`   | merged as a whole, and added to the base                                             |
"""


def route_of(task: TensorTask) -> Route:
    """Decide a task's route."""
    if task.method is None or _is_base_itself(task):
        return "copy"
    if len(task.outputs) == 2:
        return "factors"
    if task.slices:
        # Merging entry by entry gives the same without.
        whole = task.refinements or task.scales_itself or task.forms_updates
        entrywise = task.method.pieces == "entries" and not whole
        return "chunks" if entrywise else "slices"
    # A refinement, a scale computed from the merge, a rotation and some adapters' updates each need the whole tensor.
    steps = task.refinements or task.scales_itself or task.turned is not None
    if task.adapters_only or task.forms_updates or steps or task.rows:
        return "whole"
    if task.method.pieces == "entries":
        return "chunks"
    if task.method.pieces == "passes" and 0 not in task.base.shape and not task.transposed and task.scaling is None:
        return "passes"
    in_rows = len(task.base.shape) == 2 and 0 not in task.base.shape and not task.transposed
    return "rows" if task.method.pieces == "rows" and in_rows else "whole"


def _is_base_itself(task: TensorTask) -> bool:
    """Whether the one model holds the base's own bytes, and the method keeps them as they are."""
    changed = task.refinements or task.scaling is not None or task.turned is not None or len(task.outputs) != 1
    return task.method is not None and task.method.copies and task.sources == (task.base,) and not changed


def step_of(route: Route, shape: Sequence[int], elements: int) -> int:
    """Entries per step of a route in pieces, about ``elements``; 0 for a route without pieces."""
    if route == "chunks":
        return elements
    if route == "passes":
        return max(elements, math.prod(shape[1:] if len(shape) > 1 else shape))
    return max(1, elements // shape[1]) * shape[1] if route == "rows" else 0
