"""Polar factors: the nearest matrix with orthonormal columns (or rows), accurate on ill-conditioned bases."""

from __future__ import annotations

import math

from mergeometry.blocks import is_identity
from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.backend import backend_of
from mergeometry.linalg.svd import gram, magnitude, squarable, symmetric_eigen, thin_svd, top_directions
from mergeometry.products import product
from mergeometry.values import LowRank

GRAM_CONDITION = 1e-5
"""Smallest ratio of extreme singular values for which a float64 Gram matrix is used: there the factor is orthonormal
to 5e-6 (measured), at a ratio of 1e-4 to 1e-8."""

CORRECTED_CONDITION = 1e-6
"""The same where the factor takes one step of Newton and Schulz afterwards, which squares what it lacks: to 1e-8 at a
ratio of 2e-6. Below it the full decomposition is exact, and several times slower."""

_NEARLY = 1e-3
"""What a factor may lack of being orthonormal before that step, in each entry of its Gram matrix."""

_STRIP = 128
"""Rows of a symmetric product that are multiplied together."""

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


def decorrelated(matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], bool]:
    """The polar factor alone, and whether its columns are orthonormal; at once where the matrix is its other factor.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    if _positive_definite(matrix):
        return torch.eye(len(matrix), dtype=torch.float64, device=matrix.device), True
    factor, values = polar(matrix)
    return factor, len(values) == matrix.shape[1]


def stretch(factor: Float[Tensor, "m n"], matrix: Float[Tensor, "m n"]) -> Float[Tensor, "n n"]:
    """``factor.T @ matrix``, where the former is the latter's polar factor: the other one, which is symmetric."""
    if is_identity(factor):
        return matrix
    size = matrix.shape[1]
    if size <= _STRIP:
        return product(factor.mT, matrix)
    whole = matrix.new_empty(size, size)
    for first in range(0, size, _STRIP):
        strip = slice(first, first + _STRIP)
        # What is left of the diagonal is what is above it.
        whole[strip, first:] = product(factor[:, strip].mT, matrix[:, first:])
        whole[first + _STRIP :, strip] = whole[strip, first + _STRIP :].mT
    return whole


def polar_of_factors(delta: LowRank) -> tuple[LowRank, Float[Tensor, " q"]]:
    """Return what `polar` returns for a product of thin factors, as such a product, without forming it."""
    directions = top_directions(delta, delta.rank)
    whitened = LowRank(directions.left, directions.values.new_ones(directions.count).diag(), directions.right)
    return whitened, directions.values


def _positive_definite(matrix: Float[Tensor, "m n"]) -> bool:
    """Whether a matrix is symmetric to the last bit and positive definite, and no pivot small beside the largest."""
    if 0 in matrix.shape or not torch.equal(matrix, matrix.mT):
        return False
    factor, failed = torch.linalg.cholesky_ex(matrix.double(), upper=True)
    if failed:
        return False
    pivots = factor.diagonal()
    return bool(pivots.amin() > GRAM_CONDITION**0.5 * pivots.amax())


def _polar_of_tall(matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], Float[Tensor, " q"]]:
    largest = float(magnitude(matrix))
    if largest == 0:
        return matrix, matrix.new_zeros(0)
    if not math.isfinite(largest):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    squares, size = squarable(matrix, largest)
    eigenvalues, basis = symmetric_eigen(gram(squares), matrix.shape[1])
    if eigenvalues[-1] > CORRECTED_CONDITION**2 * eigenvalues[0]:
        values, times_symmetric = eigenvalues.sqrt(), backend_of(squares).times_symmetric
        factor = times_symmetric(squares, gram((basis / values.sqrt()).mT))
        if eigenvalues[-1] > GRAM_CONDITION**2 * eigenvalues[0]:
            return factor, values * size
        step = gram(factor).neg_().triu_()
        step.diagonal().add_(1)
        if float(magnitude(step)) < _NEARLY:
            step.div_(2).diagonal().add_(1)
            return times_symmetric(factor, step), values * size
    left, values, right = thin_svd(matrix)
    kept = values > NULL_TOLERANCE * values[0]
    return left[:, kept] @ right[:, kept].mT, values[kept]
