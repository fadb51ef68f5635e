"""One decomposition of a task vector, shared by every diagnostic of it."""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.svd import decompose
from mergeometry.values import Delta, Directions


@dataclass(frozen=True, slots=True, eq=False)
class Decomposed:
    """All singular values of a matrix, descending, and its leading triplets."""

    values: Float[Tensor, " q"]
    leading: Directions

    @classmethod
    def of(cls, delta: Delta, count: int) -> Decomposed:
        """Decompose a task vector, dense or low-rank, and keep ``count`` triplets.

        Raises:
            NumericalError: an entry is not finite, or every driver failed.
        """
        return cls(*decompose(delta, count))

    def holding(self, share: float) -> Directions:
        """The fewest of the leading triplets that hold this share of the energy, or all that there are."""
        energy = self.values.square()
        total = energy.sum()
        if not total > 0:
            return self.leading.leading(0)
        # A share that is reached but for rounding is reached.
        reached = int((energy.cumsum(0) < (share - 1e-12) * total).sum()) + 1
        return self.leading.leading(min(reached, self.leading.count))
