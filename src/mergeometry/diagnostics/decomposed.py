"""One decomposition of a task vector, shared by every diagnostic of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.svd import CANCELLATION, RANK_TOLERANCE, decompose, fix_signs, thin_svds
from mergeometry.values import Delta, Directions, LowRank


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

    @classmethod
    def of_each(cls, deltas: Sequence[Delta], counts: Sequence[int]) -> list[Decomposed]:
        """Decompose several task vectors, adapters of one shape and rank together.

        Raises:
            NumericalError: an entry is not finite, or every driver failed.
        """
        thin = [delta for delta in deltas if isinstance(delta, LowRank) and not delta.orthonormal]
        alike = len({(delta.left.shape, delta.core.shape, delta.right.shape) for delta in thin}) == 1
        if len(thin) < len(deltas) or not alike or not min(thin[0].core.shape):
            return [cls.of(delta, count) for delta, count in zip(deltas, counts, strict=True)]
        return [
            cls(whole.values, whole.leading(count)) for whole, count in zip(_of_adapters(thin), counts, strict=True)
        ]

    def holding(self, share: float) -> Directions:
        """The fewest of the leading triplets that hold this share of the energy, or all that there are."""
        energy = self.values.square()
        total = energy.sum()
        if not total > 0:
            return self.leading.leading(0)
        # A share that is reached but for rounding is reached.
        reached = int((energy.cumsum(0) < (share - 1e-12) * total).sum()) + 1
        return self.leading.leading(min(reached, self.leading.count))


def _of_adapters(deltas: Sequence[LowRank]) -> list[Directions]:
    """Every triplet of products of thin factors, as `decompose` finds them, in a third of its time."""
    left, core, right = (torch.stack(parts).double() for parts in zip(*map(_parts, deltas), strict=True))
    (left_basis, left_triangle), (right_basis, right_triangle) = torch.linalg.qr(left), torch.linalg.qr(right)
    inside, values, across = thin_svds(left_triangle @ core @ right_triangle.mT)
    sizes = CANCELLATION * left_triangle.norm(dim=(1, 2)) * core.norm(dim=(1, 2)) * right_triangle.norm(dim=(1, 2))
    kept = (values > torch.maximum(RANK_TOLERANCE * values[:, :1], sizes[:, None])).sum(dim=1).tolist()
    left, right = left_basis @ inside, right_basis @ across
    return [
        fix_signs(Directions(left[task][:, :count], values[task][:count], right[task][:, :count], of_adapter=True))
        for task, count in enumerate(kept)
    ]


def _parts(delta: LowRank) -> tuple[Tensor, Tensor, Tensor]:
    return delta.left, delta.core, delta.right
