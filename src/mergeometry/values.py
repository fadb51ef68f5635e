"""The values a merge computes with: weights, the updates between them, and the directions of an update.

| value        | what it is                                        | shapes                                        |
| ------------ | ------------------------------------------------- | --------------------------------------------- |
| `Weight`     | a tensor as a model holds it                      | any                                           |
| `Delta`      | a task vector: a dense tensor, or a `LowRank`     | any, or (m, n)                                |
| `LowRank`    | `left @ core @ right.T`, formed on request only   | left (m, r), core (r, s), right (n, s)        |
| `Directions` | `left @ diag(values) @ right.T`, a truncated SVD  | left (m, k), values (k,) descending, right (n, k) |

Columns are directions, and `right` is kept untransposed, as the papers write U and V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mergeometry.blocks import times_blocks
from mergeometry.deferred import Float, Tensor, torch
from mergeometry.products import product


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """A matrix held as the product ``left @ core @ right.T`` of thin factors."""

    left: Float[Tensor, "m r"]
    core: Float[Tensor, "r s"]
    right: Float[Tensor, "n s"]
    orthonormal: bool = False
    """Whether the columns of both sides are orthonormal, so that the singular values are those of the core."""

    @classmethod
    def zero(cls, m: int, n: int, device: torch.device | None = None) -> LowRank:
        """The zero matrix, with factors of no columns."""
        left, core, right = (torch.zeros(shape, device=device) for shape in ((m, 0), (0, 0), (n, 0)))
        return cls(left, core, right)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of the matrix that the factors stand for."""
        return (self.left.shape[0], self.right.shape[0])

    @property
    def rank(self) -> int:
        """Upper bound of the matrix's rank: the smaller inner dimension."""
        return min(self.core.shape)

    def dense(self, dtype: torch.dtype | None = None) -> Float[Tensor, "m n"]:
        """Form the matrix; the thin product is taken in the factors' precision, the wide one in ``dtype`` (float32)."""
        left, right = self.pair(dtype)
        return product(left, right)

    def pair(self, dtype: torch.dtype | None = None) -> tuple[Float[Tensor, "m q"], Float[Tensor, "q n"]]:
        """The two thin matrices whose product `dense` is, the core multiplied into the side where that costs least."""
        dtype = dtype or torch.float32
        (m, n), (r, s) = self.shape, self.core.shape
        values = self.core.diagonal()
        if r == s and self.core.count_nonzero() == values.count_nonzero():
            return self.left.to(dtype), (self.right * values).to(dtype).mT
        if n * r * s + m * n * r <= m * r * s + m * n * s:
            return self.left.to(dtype), times_blocks(self.right, self.core.mT).to(dtype).mT
        return times_blocks(self.left, self.core).to(dtype), self.right.to(dtype).mT

    @property
    def device(self) -> torch.device:
        """Where the factors are."""
        return self.left.device

    def scaled(self, factor: float) -> LowRank:
        """The matrix times ``factor``."""
        return LowRank(self.left, self.core * factor, self.right, self.orthonormal)

    def transposed(self) -> LowRank:
        """The matrix transposed."""
        return LowRank(self.right, self.core.mT, self.left, self.orthonormal)


Delta: TypeAlias = Tensor | LowRank
"""A task vector, or a merged one: an update to add to a weight of the base."""


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A tensor in weight space; the sum of two weights means nothing, so adding them is a type error."""

    tensor: Float[Tensor, "*shape"]

    def plus(self, delta: Delta, scale: float = 1.0) -> Weight:
        """The weight moved along ``delta`` by ``scale``."""
        update = delta.dense(self.tensor.dtype) if isinstance(delta, LowRank) else delta
        return Weight(self.tensor.add(update, alpha=scale))


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """The leading singular triplets of one task vector; fewer than requested where the rank is smaller."""

    left: Float[Tensor, "m k"]
    values: Float[Tensor, " k"]
    right: Float[Tensor, "n k"]
    of_adapter: bool = False
    """Whether the task vector was held as thin factors, as an adapter's is."""

    @property
    def count(self) -> int:
        """How many directions there are."""
        return self.values.shape[0]

    def low_rank(self) -> LowRank:
        """The matrix that the triplets span, as a product of thin factors."""
        return LowRank(self.left, torch.diag(self.values), self.right)

    def leading(self, count: int) -> Directions:
        """The first ``count`` triplets."""
        return replace(self, left=self.left[:, :count], values=self.values[:count], right=self.right[:, :count])

    def scaled(self, factor: float) -> Directions:
        """The triplets of the matrix times ``factor``; there are none where it is zero.

        A negative factor turns the right directions around: the left ones carry the fixed sign.
        """
        if factor == 0:
            return self.leading(0)
        return replace(self, values=self.values * abs(factor), right=self.right if factor > 0 else -self.right)


def sum_of(deltas: Sequence[Delta]) -> Delta:
    """Sum task vectors exactly: low-rank where all are (ranks add up), dense otherwise.

    Raises:
        ValueError: there is nothing to sum, or the shapes differ.
    """
    if not deltas or any(tuple(delta.shape) != tuple(deltas[0].shape) for delta in deltas):
        raise ValueError(f"expected task vectors of one shape, got {[tuple(delta.shape) for delta in deltas]}")
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) == len(deltas):
        return LowRank(
            torch.cat([delta.left for delta in thin], dim=1),
            torch.block_diag(*(delta.core for delta in thin)),
            torch.cat([delta.right for delta in thin], dim=1),
        )
    dtype = next(delta.dtype for delta in deltas if isinstance(delta, Tensor))
    total: Tensor | None = None
    for delta in deltas:
        term = delta.dense(dtype) if isinstance(delta, LowRank) else delta
        total = term.clone() if total is None else total.add_(term)
    assert total is not None
    return total
