"""The steps after a merge: the refinements of a recipe, given the task vectors that were merged."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.execution.on_demand import OnDemand
from mergeometry.methods.families.method import weighed
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
