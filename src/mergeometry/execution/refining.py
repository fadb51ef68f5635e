"""What follows a merge: the refinements of a recipe, given the task vectors that were merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import overload

import torch
from torch import Tensor

from mergeometry.methods.base import weighed
from mergeometry.plan.tasks import TensorTask
from mergeometry.values import Delta, LowRank


class WeighedDeltas(Sequence[Delta]):
    """Task vectors times their models' weights, each made when it is asked for and kept by nobody."""

    def __init__(self, load: Callable[[int], Delta], weights: Sequence[float]) -> None:
        self._load = load
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    @overload
    def __getitem__(self, index: int) -> Delta: ...

    @overload
    def __getitem__(self, index: slice) -> list[Delta]: ...

    def __getitem__(self, index: int | slice) -> Delta | list[Delta]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return weighed(self._load(index), self._weights[index])


def refined(task: TensorTask, merged: Delta, load: Callable[[int], Delta]) -> Delta:
    """The merged task vector after the task's refinements; ``load`` gives the task vector of a model by its place."""
    for _, refinement in task.refinements:
        merged = refinement(merged, WeighedDeltas(load, task.weights))
    return merged


def weighted_sum(deltas: Iterable[Delta], coefficients: Sequence[float]) -> Tensor:
    """Sum of task vectors times coefficients, of which at least one is dense, with one of them in memory at a time."""
    thin: list[tuple[LowRank, float]] = []
    total: Tensor | None = None
    for delta, coefficient in zip(deltas, coefficients, strict=True):
        if isinstance(delta, LowRank):
            thin.append((delta, coefficient))
        else:
            total = torch.zeros_like(delta) if total is None else total
            total.add_(delta, alpha=coefficient)
    assert total is not None
    for delta, coefficient in thin:
        total.add_(delta.dense(total.dtype), alpha=coefficient)
    return total
