"""Merges adapters in the coordinates of the directions that they span together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mergeometry.linalg.coordinates import expanded, in_coordinates, turned
from mergeometry.methods.families.accumulator import LeadingDirections
from mergeometry.values import Delta, Directions, LowRank


class InCoordinates(LeadingDirections[LowRank]):
    """Keeps adapters until the last was taken; where there is another task vector among them, each is decomposed.

    So it is where they span as many directions as the matrix has, and coordinates would save nothing.
    """

    def __init__(
        self, weights: Sequence[float], count: Callable[[Delta], int], merge: Callable[[list[Directions]], LowRank]
    ) -> None:
        super().__init__(weights, count, merge)
        self._adapters: list[LowRank] = []

    def take(self, index: int, delta: Delta) -> None:
        """Keep an adapter; decompose any other task vector."""
        if isinstance(delta, LowRank) and len(self._adapters) == index:
            self._adapters.append(delta)
            return
        self._decompose_each()
        super().take(index, delta)

    def result(self) -> LowRank:
        """The merge, taken back from its coordinates where all are adapters."""
        adapters = self._adapters
        spanned = sum(max(adapter.core.shape) for adapter in adapters)
        if not adapters or len(adapters) < len(self._weights) or spanned > min(adapters[0].shape):
            self._decompose_each()
            return super().result()
        left, right, found = in_coordinates(adapters, [self.count(adapter) for adapter in adapters])
        for index, directions in enumerate(found):
            self.take_directions(index, directions)
        return expanded(turned(super().result()), left, right)

    def _decompose_each(self) -> None:
        adapters, self._adapters = self._adapters, []
        for index, adapter in enumerate(adapters):
            super().take(index, adapter)
