"""The steps around a merge: the refinements of a recipe, given the task vectors that are merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mergeometry.execution.on_demand import OnDemand
from mergeometry.methods.families.accumulator import Accumulator, Changing
from mergeometry.methods.families.weights import weighed
from mergeometry.plan.tasks import TensorTask
from mergeometry.values import Delta


class WeighedDeltas(OnDemand):
    """Task vectors times their models' weights, each computed when it is asked for and never kept."""

    def __init__(self, deltas: Sequence[Delta], weights: Sequence[float]) -> None:
        self._deltas = deltas
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    def at(self, index: int) -> Delta:
        """Weigh one task vector."""
        return weighed(self._deltas[index], self._weights[index])


def refined(task: TensorTask, merged: Delta, deltas: Sequence[Delta]) -> Delta:
    """The merged task vector after the task's refinements, which see the task vectors times their models' weights."""
    for _, refinement in task.refinements:
        merged = refinement(merged, WeighedDeltas(deltas, task.weights))
    return merged


def calibrated(task: TensorTask, accumulator: Accumulator[Delta], deltas: Sequence[Delta]) -> Accumulator[Delta]:
    """An accumulator that gets the task vectors as the task's refinements change them before the merge.

    The first refinement changes them first, and the next sees what became of them.
    """
    seen: Sequence[Delta] = WeighedDeltas(deltas, task.weights)
    changes: list[Callable[[Delta], Delta]] = []
    for _, refinement in task.refinements:
        if (change := refinement.calibration(seen)) is not None:
            changes.append(change)
            seen = _Changed(seen, change)
    # The outermost gets a task vector first.
    for change in reversed(changes):
        accumulator = Changing(accumulator, change)
    return accumulator


class _Changed(OnDemand):
    """Task vectors as a calibration changes them."""

    def __init__(self, deltas: Sequence[Delta], change: Callable[[Delta], Delta]) -> None:
        self._deltas, self._change = deltas, change

    def __len__(self) -> int:
        return len(self._deltas)

    def at(self, index: int) -> Delta:
        """Change one task vector."""
        return self._change(self._deltas[index])
