"""Inner products of the directions of several task vectors, taken once and shared by what compares their subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.subspace import stack
from mergeometry.values import Directions


@dataclass(frozen=True, slots=True, eq=False)
class DirectionProducts:
    """``U^T U``, ``V^T V`` and ``S`` of the directions of T tasks side by side."""

    left: Float[Tensor, "k k"]
    right: Float[Tensor, "k k"]
    values: Float[Tensor, " k"]
    counts: tuple[int, ...]
    """Directions of each task."""

    @classmethod
    def of(cls, directions: Sequence[Directions]) -> DirectionProducts:
        """The products of these tasks' directions."""
        stacked = stack(directions)
        left, right = stacked.left, stacked.right
        return cls(left.mT @ left, right.mT @ right, stacked.values, tuple(task.count for task in directions))

    def pair(self, one: int, other: int) -> DirectionProducts:
        """Those of two tasks alone."""
        places = [self._place(one), self._place(other)]
        left, right = (
            torch.cat([torch.cat([side[row, column] for column in places], dim=1) for row in places])
            for side in (self.left, self.right)
        )
        values = torch.cat([self.values[place] for place in places])
        return DirectionProducts(left, right, values, (self.counts[one], self.counts[other]))

    def between_left(self, one: int, other: int) -> Float[Tensor, "k l"]:
        """``U_s^T U_t``."""
        return self.left[self._place(one), self._place(other)]

    def between_right(self, one: int, other: int) -> Float[Tensor, "k l"]:
        """``V_s^T V_t``."""
        return self.right[self._place(one), self._place(other)]

    def _place(self, task: int) -> slice:
        first = sum(self.counts[:task])
        return slice(first, first + self.counts[task])
