"""Weighted sums of task vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.families.accumulator import Accumulator
from mergeometry.methods.families.cost import Sizes, Work, multiplied_out, stacked_directions
from mergeometry.methods.families.method import Method, Pieces
from mergeometry.methods.families.piecewise import Piecewise, Sum
from mergeometry.values import Delta, LowRank, sum_of


class Linear(Method):
    """A weighted sum of task vectors, added one at a time; low-rank where all of them are."""

    family: ClassVar[str] = "linear"
    has_parts: ClassVar[bool] = True
    scale_rule: ClassVar[str] = "projection"
    streams: ClassVar[bool] = True

    @abstractmethod
    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """What each task vector is multiplied by before they are added."""

    @property
    def pieces(self) -> Pieces:
        """Each entry of a sum depends on no other."""
        return "entries"

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Add the task vectors, each times its coefficient."""
        return WeightedSum(self.coefficients(weights))

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of the task vectors."""
        return Sum(self.coefficients(weights))

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task vector times its coefficient."""
        pairs = zip(deltas, self.coefficients(weights), strict=True)
        return [d.scaled(c) if isinstance(d, LowRank) else d * c for d, c in pairs]

    def cost(self, sizes: Sizes) -> Work:
        """The sum and one task vector; for adapters alone, their factors side by side."""
        if sizes.dense:
            return Work(3.0 * sizes.elements * sizes.tasks, 2 * sizes.piece) + self.extra_cost(sizes)
        if not sizes.stays_thin:
            return multiplied_out(sizes) + self.extra_cost(sizes)
        ranks = [rank or 0 for rank in sizes.ranks]
        total = min(min(sizes.shape, default=0), sum(ranks))
        return stacked_directions(sizes, ranks, total, 0) + self.extra_cost(sizes)


class WeightedSum(Accumulator[Delta]):
    """Adds each task vector as it is taken; low-rank ones stay thin until the end, as does the sum where all are.

    ``start`` is what they are added to, in place.
    """

    def __init__(self, coefficients: Sequence[float], start: Float[Tensor, "*shape"] | None = None) -> None:
        self._coefficients = coefficients
        self._thin: list[tuple[LowRank, float]] = []
        self._total = start

    def take(self, index: int, delta: Delta) -> None:
        """Add it times its coefficient."""
        coefficient = self._coefficients[index]
        if isinstance(delta, LowRank):
            self._thin.append((delta, coefficient))
            return
        self._total = torch.zeros_like(delta) if self._total is None else self._total
        self._total.add_(delta, alpha=coefficient)

    def result(self) -> Delta:
        """The sum."""
        if self._total is None:
            return sum_of([delta.scaled(coefficient) for delta, coefficient in self._thin])
        for delta, coefficient in self._thin:
            self._total.add_(delta.dense(self._total.dtype), alpha=coefficient)
        return self._total
