"""Singular value decompositions that do not fail, and leading directions that cost less than a full one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.backend import backend_of
from mergeometry.linalg.blocks import diagonal_blocks
from mergeometry.linalg.tolerances import RANK_TOLERANCE, DecompositionFallbackWarning
from mergeometry.values import Delta, Directions, LowRank

__all__ = [
    "RANK_TOLERANCE",
    "DecompositionFallbackWarning",
    "decompose",
    "fix_signs",
    "gram",
    "magnitude",
    "symmetric_eigen",
    "symmetric_spectrum",
    "thin_svd",
    "top_directions",
]

CANCELLATION = 1e-14
"""Singular values below this share of the product of the factors' norms are what cancellation leaves in float64."""


_Solver: TypeAlias = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def thin_svd(
    matrix: Float[Tensor, "m n"],
) -> tuple[Float[Tensor, "m q"], Float[Tensor, " q"], Float[Tensor, "n q"]]:
    """Decompose ``matrix = U diag(s) V.T`` in float64 with ``q = min(m, n)`` columns, values descending.

    A driver that fails hands over to another, and a warning says so.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    return backend_of(matrix).thin_svd(matrix)


def symmetric_eigen(gram: Float[Tensor, "n n"], count: int) -> tuple[Float[Tensor, " count"], Float[Tensor, "n count"]]:
    """Largest ``count`` eigenvalues, descending, and eigenvectors of a symmetric matrix (upper triangle read).

    Raises:
        NumericalError: every driver failed.
    """
    return backend_of(gram).symmetric_eigen(gram, count)


def symmetric_spectrum(gram: Float[Tensor, "n n"], count: int) -> tuple[Float[Tensor, " n"], Float[Tensor, "n count"]]:
    """Every eigenvalue, descending, and the eigenvectors of the largest ``count``, in the time of `symmetric_eigen`.

    Raises:
        NumericalError: every driver failed.
    """
    return backend_of(gram).symmetric_spectrum(gram, count)


def gram(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "n n"]:
    """Upper triangle of ``matrix.T @ matrix`` in float64; the lower triangle is not filled."""
    return backend_of(matrix).gram(matrix)


def magnitude(matrix: Float[Tensor, "m n"]) -> Float[Tensor, ""]:
    """Magnitude of the largest entry, NaN where there is one; a transposed view is read in memory order."""
    low, high = torch.aminmax(matrix if matrix.is_contiguous() else matrix.mT)
    return torch.maximum(-low, high)


def top_directions(delta: Delta, count: int) -> Directions:
    """Leading ``count`` singular triplets of a task vector, signs fixed; fewer where its rank is smaller.

    A dense matrix goes through the float64 Gram matrix of its shorter side and a range-limited
    eigen-solver; thin factors go through their QR, and the matrix is never formed.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    if isinstance(delta, LowRank):
        return replace(_of_factors(delta, count), of_adapter=True)
    m, n = delta.shape
    if m < n:
        flipped = _of_tall(delta.mT, count)
        return fix_signs(Directions(flipped.right, flipped.values, flipped.left))
    return fix_signs(_of_tall(delta, count))


def decompose(delta: Delta, count: int) -> tuple[Float[Tensor, " q"], Directions]:
    """Every singular value of a task vector, descending, and its leading ``count`` triplets, from one decomposition.

    Values that count as zero are zero; of thin factors there are as many values as their product has rank.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    if isinstance(delta, LowRank):
        whole = replace(_of_factors(delta, delta.rank), of_adapter=True)
        return whole.values, whole.leading(count)
    m, n = delta.shape
    if m < n:
        values, flipped = _decomposed(delta.mT, min(count, m), symmetric_spectrum)
        return values, fix_signs(Directions(flipped.right, flipped.values, flipped.left))
    values, directions = _decomposed(delta, min(count, n), symmetric_spectrum)
    return values, fix_signs(directions)


def fix_signs(directions: Directions) -> Directions:
    """Make the entry of largest magnitude of each left direction positive, turning both sides together.

    A singular triplet is defined up to a joint sign, and any simplex ETF over directions depends on it.
    """
    if 0 in directions.left.shape:
        return directions
    peaks = directions.left.abs().argmax(dim=0, keepdim=True)
    signs = torch.where(directions.left.gather(0, peaks) < 0, -1.0, 1.0).to(directions.left.dtype)
    return replace(directions, left=directions.left * signs, right=directions.right * signs)


def _of_tall(matrix: Float[Tensor, "m n"], count: int) -> Directions:
    count = min(count, matrix.shape[1])
    if count == 0:
        return _none(matrix.shape[0], matrix.shape[1], matrix.device)
    return _decomposed(matrix, count, symmetric_eigen)[1]


def _decomposed(matrix: Float[Tensor, "m n"], count: int, solve: _Solver) -> tuple[Float[Tensor, " q"], Directions]:
    """The singular values that belong to the eigenvalues of ``solve``, and the leading triplets of a tall matrix."""
    m, n = matrix.shape
    exact = matrix.to(torch.float64)
    largest = magnitude(exact) if exact.numel() else exact.new_zeros(())
    if not bool(torch.isfinite(largest)):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    if largest == 0:
        return exact.new_zeros(n), _none(m, n, exact.device)
    exact = exact / largest  # squares of very large or small entries would leave float64's range
    eigenvalues, right = solve(gram(exact), count)
    values = eigenvalues.clamp(min=0).sqrt()
    values = values.where(values > RANK_TOLERANCE * values[0], 0.0)
    kept = int((values[:count] > 0).sum())
    leading, right = values[:kept], right[:, :kept]
    left = exact @ right / leading
    return values * largest, Directions(left, leading * largest, right)


def _of_factors(delta: LowRank, count: int) -> Directions:
    if delta.orthonormal:
        return _of_core(delta, count)
    left_basis, left_triangle = torch.linalg.qr(delta.left.to(torch.float64))
    right_basis, right_triangle = torch.linalg.qr(delta.right.to(torch.float64))
    inner = left_triangle @ delta.core.to(torch.float64) @ right_triangle.mT
    if 0 in inner.shape:
        return _none(delta.shape[0], delta.shape[1], inner.device)
    left, values, right = thin_svd(inner)
    # Adapters that cancel in a sum leave rounding error in proportion to their own size; it has no direction.
    rounding = CANCELLATION * left_triangle.norm() * delta.core.double().norm() * right_triangle.norm()
    kept = min(count, int((values > torch.maximum(RANK_TOLERANCE * values[0], rounding)).sum()))
    return fix_signs(Directions(left_basis @ left[:, :kept], values[:kept], right_basis @ right[:, :kept]))


def _of_core(delta: LowRank, count: int) -> Directions:
    """The triplets of a matrix between orthonormal sides, from the blocks that its core falls into."""
    left, core, right = (part.double() for part in (delta.left, delta.core, delta.right))
    diagonal = core.diagonal()
    if core.shape[0] == core.shape[1] and core.count_nonzero() == diagonal.count_nonzero():
        if not bool(torch.isfinite(diagonal).all()):
            raise NumericalError("a matrix to decompose holds NaN or Inf")
        parts = [(left * torch.where(diagonal < 0, -1.0, 1.0).to(diagonal), diagonal.abs(), right)]
    else:
        parts = []
        for block in diagonal_blocks(core):
            inside, values, across = thin_svd(core[block, block])
            parts.append((left[:, block] @ inside, values, right[:, block] @ across))
    values = torch.cat([values for _, values, _ in parts])
    if not len(values):
        return _none(delta.shape[0], delta.shape[1], core.device)
    order = values.argsort(descending=True, stable=True)
    rounding = CANCELLATION * core.norm() * len(values)
    floor = torch.maximum(RANK_TOLERANCE * values[order[0]], rounding)
    kept = order[: min(count, int((values > floor).sum()))]
    one, other = (torch.cat(side, dim=1)[:, kept] for side in zip(*((u, v) for u, _, v in parts), strict=True))
    return fix_signs(Directions(one, values[kept], other))


def _none(m: int, n: int, device: torch.device) -> Directions:
    left, values, right = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((m, 0), (0,), (n, 0)))
    return Directions(left, values, right)
