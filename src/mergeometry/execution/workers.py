"""How many workers a merge gets: as many as the cores and the memory allow; one that fits neither way is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mergeometry.errors import RecipeError
from mergeometry.execution.pool import worker_count
from mergeometry.methods import registry
from mergeometry.plan import machine
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.sink.failures import readable_bytes

_IN_PIECES = "average"
"""A method that merges any full tensor piece by piece."""


def workers_for(plan: Plan, asked: int | None) -> int:
    """The number of workers asked for, or else as many as cores and memory allow.

    Raises:
        RecipeError: fewer than one is asked for, or the merge needs more memory than there is; the hint says what fits.
    """
    return workers_within(asked, plan.seconds(1), plan.peak_memory, lambda limit: _cure(plan, limit))


def workers_within(
    asked: int | None, seconds: float, peak: Callable[[int], int], cure: Callable[[int], str] | None = None
) -> int:
    """The same for work whose ``peak`` memory is known for each number of workers; ``cure`` makes one worker fit."""
    count, limit = worker_count(asked, seconds), machine.available_memory()
    if not limit or peak(count) <= limit:
        return count
    fitting = next((fewer for fewer in range(count - 1, 0, -1) if peak(fewer) <= limit), 0)
    if fitting and asked is None:
        return fitting
    workers = f"{count} worker{'s' if count > 1 else ''}"
    raise RecipeError(
        f"this may take {readable_bytes(peak(count))} of memory with {workers}, and there are {readable_bytes(limit)}",
        hint=f"--workers {fitting} fits" if fitting else cure(limit) if cure else "use a machine with more memory",
    )


def _cure(plan: Plan, limit: int) -> str:
    """What would make one worker fit: another method for the tensors that are too large, if there is one."""
    machine_for_all = f"use a machine with {readable_bytes(plan.peak_memory(1))}"
    room = limit - (plan.peak_memory(1) - max(task.cost.memory for task in plan.tasks))
    large = sorted((task for task in plan.tasks if task.cost.memory > room), key=lambda task: -task.cost.memory)
    if room <= 0 or any(_in_pieces(task) > room for task in large):
        return machine_for_all
    names = ", ".join(f"{{match: {task.name!r}, method: {_IN_PIECES}}}" for task in large[:3])
    more = f", and {len(large) - 3} more" if len(large) > 3 else ""
    return f"merge the largest tensors piece by piece: `tensors: [{names}]`{more}; or {machine_for_all}"


def _in_pieces(task: TensorTask) -> int:
    """The memory of a task by a method that merges piece by piece, without steps after the merge."""
    if task.method is None:
        return task.cost.memory
    method = registry.build(_IN_PIECES, {})
    return replace(task, method=method, method_name=_IN_PIECES, refinements=(), scaling=None).cost.memory
