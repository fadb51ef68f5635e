"""Polar factors: the nearest matrix with orthonormal columns (or rows), accurate on ill-conditioned bases."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.svd import gram, magnitude, symmetric_eigen, thin_svd, top_directions
from mergeometry.values import LowRank

GRAM_CONDITION = 1e-5
"""Smallest ratio of extreme singular values for which a float64 Gram matrix is used: there the factor is orthonormal
to 5e-6 (measured), at a ratio of 1e-4 to 1e-8; the full decomposition below it is exact, and several times slower."""

NULL_TOLERANCE = 1e-7
"""Singular values below this share of the largest have no direction of their own."""


def polar(matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], Float[Tensor, " q"]]:
    """Return ``P Q.T`` and the singular values ``D`` (descending, non-zero ones) of ``matrix = P D Q.T``, in float64.

    Directions of zero singular value are left out, so for a rank-deficient matrix the result is the
    partial isometry, which is unique, and not one of its arbitrary completions.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    if matrix.numel() == 0:
        return matrix.double(), matrix.new_zeros(0).double()
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    factor, values = _polar_of_tall(tall.double())
    return (factor if tall is matrix else factor.mT), values


def polar_of_factors(delta: LowRank) -> tuple[LowRank, Float[Tensor, " q"]]:
    """Return what `polar` returns for a product of thin factors, as such a product, without forming it."""
    directions = top_directions(delta, delta.rank)
    whitened = LowRank(directions.left, directions.values.new_ones(directions.count).diag(), directions.right)
    return whitened, directions.values


def _polar_of_tall(matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], Float[Tensor, " q"]]:
    largest = magnitude(matrix)
    if largest == 0:
        return matrix, matrix.new_zeros(0)
    eigenvalues, basis = symmetric_eigen(gram(matrix / largest), matrix.shape[1])
    if eigenvalues[-1] > GRAM_CONDITION**2 * eigenvalues[0]:
        values = eigenvalues.sqrt()
        return (matrix / largest) @ ((basis / values) @ basis.mT), values * largest
    left, values, right = thin_svd(matrix)
    kept = values > NULL_TOLERANCE * values[0]
    return left[:, kept] @ right[:, kept].mT, values[kept]
