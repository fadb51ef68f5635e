"""Adapters in the coordinates of the directions that all of them span: small matrices in place of thin ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.svd import CANCELLATION, RANK_TOLERANCE, gram, thin_svd
from mergeometry.values import Directions, LowRank

_ONE_PASS = 1e4
"""Bound of the condition up to which the Cholesky factor of a Gram matrix has nine digits or more: its error grows as
the condition's square. The bound is that of Frobenius norms, at least the number of columns."""

_TWO_PASSES = 1e7
"""The same up to which a second pass restores them; beyond it, Householder reflections take over."""


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal columns Q of vectors ``Q triangle``, never formed where others do: ``Q x = stack (solved x)``.

    Where ``solved`` is None, ``stack`` is Q itself.
    """

    stack: Float[Tensor, "m s"]
    triangle: Float[Tensor, "p r"]
    solved: Float[Tensor, "s p"] | None

    def expand(self, coordinates: Float[Tensor, "p k"]) -> Float[Tensor, "m k"]:
        """Vectors from their coordinates."""
        return self.stack @ (coordinates if self.solved is None else self.solved @ coordinates)


def basis_of(vectors: Float[Tensor, "m r"]) -> Basis:
    """A basis of the span of columns, in float64, by Cholesky factors of Gram matrices where their condition allows it.

    Columns are first divided by their largest entries: sizes that differ, as those of an adapter's directions do, are
    then no part of the condition.

    Raises:
        NumericalError: an entry is not finite.
    """
    exact = vectors.double()
    if 0 in exact.shape:
        return Basis(exact[:, :0], exact.new_zeros(0, exact.shape[1]), None)
    sizes = exact.abs().amax(dim=0)
    if not bool(torch.isfinite(sizes).all()):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    scaled = exact / torch.where(sizes > 0, sizes, 1.0)
    triangle, inverse, condition = _cholesky(gram(scaled))
    if condition > _ONE_PASS and condition <= _TWO_PASSES:
        nearly = scaled @ inverse
        second, more, spread = _cholesky(gram(nearly))
        triangle, inverse = second @ triangle, inverse @ more
        condition = condition if spread < 2 * len(triangle) else float("inf")
    if not condition <= _TWO_PASSES:
        orthonormal, triangle = torch.linalg.qr(exact)
        return Basis(orthonormal, triangle, None)
    return Basis(scaled, triangle * sizes, inverse)


def in_coordinates(deltas: Sequence[LowRank], counts: Sequence[int]) -> tuple[Basis, Basis, list[Directions]]:
    """A basis for either side, and in its coordinates the leading ``counts`` singular triplets of each task vector.

    Signs are as they come. Triplets that `top_directions` would leave out are left out.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    left, right = (basis_of(torch.cat(side, dim=1)) for side in zip(*((d.left, d.right) for d in deltas), strict=True))
    found, row, column = [], 0, 0
    for delta, count in zip(deltas, counts, strict=True):
        rows, columns = delta.core.shape
        one, other = left.triangle[:, row : row + rows], right.triangle[:, column : column + columns]
        found.append(_triplets(one, delta.core.double(), other, count))
        row, column = row + rows, column + columns
    return left, right, found


def _triplets(left: Float[Tensor, "p r"], core: Float[Tensor, "r s"], right: Float[Tensor, "q s"], count: int
              ) -> Directions:  # fmt: skip
    (one, one_triangle), (other, other_triangle) = torch.linalg.qr(left), torch.linalg.qr(right)
    inner = one_triangle @ core @ other_triangle.mT
    if 0 in inner.shape:
        return Directions(left[:, :0], inner.new_zeros(0), right[:, :0], of_adapter=True)
    inside, values, across = thin_svd(inner)
    rounding = CANCELLATION * one_triangle.norm() * core.norm() * other_triangle.norm()
    kept = min(count, int((values > torch.maximum(RANK_TOLERANCE * values[0], rounding)).sum()))
    return Directions(one @ inside[:, :kept], values[:kept], other @ across[:, :kept], of_adapter=True)


def _cholesky(upper: Float[Tensor, "r r"]) -> tuple[Float[Tensor, "r r"], Float[Tensor, "r r"], float]:
    """The upper factor, its inverse, and a bound of its condition: infinite where there is no factor."""
    factor, failed = torch.linalg.cholesky_ex(upper, upper=True)
    if failed:
        return factor, factor, float("inf")
    identity = torch.eye(len(upper), dtype=upper.dtype, device=upper.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=True)
    return factor, inverse, float(factor.norm() * inverse.norm())
