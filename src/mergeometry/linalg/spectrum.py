"""The whole spectrum of a task vector and its leading directions, from one decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.svd import fix_signs, spectrum_and_directions, top_directions
from mergeometry.linalg.thin_products import triplets_of_products
from mergeometry.values import Delta, Directions, LowRank


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """All singular values of a matrix, descending, and its leading triplets.

    Values that count as zero are zero; of thin factors there are as many values as their product has rank.
    """

    values: Float[Tensor, " q"]
    leading: Directions

    @classmethod
    def of(cls, delta: Delta, count: int) -> Spectrum:
        """Decompose a task vector, dense or low-rank, and keep ``count`` triplets.

        Raises:
            NumericalError: an entry is not finite, or every driver failed.
        """
        if isinstance(delta, LowRank):
            whole = top_directions(delta, delta.rank)
            return cls(whole.values, whole.leading(count))
        return cls(*spectrum_and_directions(delta, count))

    @classmethod
    def of_each(cls, deltas: Sequence[Delta], counts: Sequence[int]) -> list[Spectrum]:
        """Decompose several task vectors; adapters of one shape and rank together, in a third of the time.

        Raises:
            NumericalError: an entry is not finite, or every driver failed.
        """
        thin = [delta for delta in deltas if isinstance(delta, LowRank) and not delta.orthonormal]
        alike = len({(delta.left.shape, delta.core.shape, delta.right.shape) for delta in thin}) == 1
        if len(thin) < len(deltas) or not alike or not min(thin[0].core.shape):
            return [cls.of(delta, count) for delta, count in zip(deltas, counts, strict=True)]
        parts = zip(*((delta.left, delta.core, delta.right) for delta in thin), strict=True)
        found = map(fix_signs, triplets_of_products(*(torch.stack(part).double() for part in parts)))
        return [cls(whole.values, whole.leading(count)) for whole, count in zip(found, counts, strict=True)]

    def holding(self, share: float) -> Directions:
        """The fewest of the leading triplets that hold this share of the energy, or all that there are."""
        energy = self.values.square()
        total = energy.sum()
        if not total > 0:
            return self.leading.leading(0)
        # A share counts as reached where only rounding is missing.
        reached = int((energy.cumsum(0) < (share - 1e-12) * total).sum()) + 1
        return self.leading.leading(min(reached, self.leading.count))


def singular_values(delta: Delta) -> Float[Tensor, " q"]:
    """All singular values of a task vector, as `Spectrum` has them.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    return Spectrum.of(delta, 0).values
