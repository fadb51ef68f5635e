"""Singular value decompositions that do not fail, and leading directions that cost less than a full one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from mergeometry.blocks import diagonal_blocks, is_identity
from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.backend import backend_of, in_main_memory
from mergeometry.linalg.tolerances import RANK_TOLERANCE, DecompositionFallbackWarning
from mergeometry.products import product
from mergeometry.values import Delta, Directions, LowRank

__all__ = [
    "RANK_TOLERANCE",
    "DecompositionFallbackWarning",
    "fix_signs",
    "gram",
    "magnitude",
    "peaks_below_zero",
    "singular_core",
    "spectrum_and_directions",
    "squarable",
    "symmetric_eigen",
    "symmetric_spectrum",
    "thin_svd",
    "thin_svds",
    "top_directions",
]

CANCELLATION = 1e-14
"""Singular values below this share of the product of the factors' norms are what cancellation leaves in float64."""

_SAFE = 1e-100, 1e100
"""Magnitudes between which the squares of a matrix's entries, and their sums, keep all of float64's digits."""

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


def thin_svds(
    matrices: Float[Tensor, "t m n"],
) -> tuple[Float[Tensor, "t m q"], Float[Tensor, "t q"], Float[Tensor, "t n q"]]:
    """Decompose several small matrices as `thin_svd` does one.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    if not bool(torch.isfinite(matrices).all()):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    try:
        left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        # One by one, each by the drivers that do not fail.
        left, values, right = (torch.stack(parts) for parts in zip(*map(thin_svd, matrices), strict=True))
        return left, values, right
    return left, values, right.mT


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


def squarable(matrix: Float[Tensor, "m n"], largest: float) -> tuple[Float[Tensor, "m n"], float]:
    """A float64 matrix whose products stay in float64's range, and what its entries are to be multiplied by.

    It is the matrix itself, and the factor is 1, for all but very large or small ones: a copy takes time.
    """
    if _SAFE[0] < largest < _SAFE[1]:
        return matrix, 1.0
    return matrix / largest, largest


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


def spectrum_and_directions(matrix: Float[Tensor, "m n"], count: int) -> tuple[Float[Tensor, " q"], Directions]:
    """Every singular value of a dense matrix, descending, and its leading ``count`` triplets, from one decomposition.

    Values that count as zero are zero.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    m, n = matrix.shape
    if m < n:
        values, flipped = _decomposed(matrix.mT, min(count, m), symmetric_spectrum)
        return values, fix_signs(Directions(flipped.right, flipped.values, flipped.left))
    values, directions = _decomposed(matrix, min(count, n), symmetric_spectrum)
    return values, fix_signs(directions)


def fix_signs(directions: Directions) -> Directions:
    """Make the entry of largest magnitude of each left direction positive, turning both sides together.

    A singular triplet is defined up to a joint sign, and any simplex ETF over directions depends on it.
    """
    left, right = directions.left, directions.right
    if 0 in left.shape:
        return directions
    negative = peaks_below_zero(left)
    if in_main_memory(left) and not bool(negative.any()):
        return directions
    signs = torch.where(negative, -1.0, 1.0).to(left.dtype)
    return replace(directions, left=left * signs, right=right * signs)


def peaks_below_zero(vectors: Float[Tensor, "m k"]) -> Bool[Tensor, " k"]:
    """Whether the entry of largest magnitude of each column, the first of equals, is negative."""
    if in_main_memory(vectors):
        low, high = vectors.amin(dim=0), vectors.amax(dim=0)  # a tenth of the time of `aminmax` and `argmax`
        if not bool((-low == high).any()):
            return -low > high
    return vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))[0] < 0


def _of_tall(matrix: Float[Tensor, "m n"], count: int) -> Directions:
    count = min(count, matrix.shape[1])
    if count == 0:
        return _none(matrix.shape[0], matrix.shape[1], matrix.device)
    return _decomposed(matrix, count, symmetric_eigen)[1]


def _decomposed(matrix: Float[Tensor, "m n"], count: int, solve: _Solver) -> tuple[Float[Tensor, " q"], Directions]:
    """The singular values that belong to the eigenvalues of ``solve``, and the leading triplets of a tall matrix."""
    m, n = matrix.shape
    largest = float(magnitude(matrix)) if matrix.numel() else 0.0
    if not math.isfinite(largest):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    exact = matrix.to(torch.float64)
    if largest == 0:
        return exact.new_zeros(n), _none(m, n, exact.device)
    exact, size = squarable(exact, largest)
    eigenvalues, right = solve(gram(exact), count)
    values = eigenvalues.clamp(min=0).sqrt()
    values = values.where(values > RANK_TOLERANCE * values[0], 0.0)
    kept = int((values[:count] > 0).sum())
    leading, right = values[:kept], right[:, :kept]
    left = product(exact, right) / leading
    return values * size, Directions(left, leading * size, right)


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


def singular_core(delta: LowRank) -> LowRank:
    """A matrix between orthonormal sides turned until its core is diagonal: its singular values, in descending order.

    The core is decomposed by the blocks that it falls into. Nothing is left out, and signs are as they come.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    core, columns = delta.core.double(), delta.core.shape[1]
    if len(core) == columns and core.count_nonzero() == core.diagonal().count_nonzero():
        values = core.diagonal()
        if not bool(torch.isfinite(values).all()):
            raise NumericalError("a matrix to decompose holds NaN or Inf")
        if _ordered(values):
            return delta
        order = values.abs().argsort(descending=True, stable=True)
        signs = torch.where(values < 0, -1.0, 1.0).to(values)
        left, right = (delta.left.double() * signs)[:, order], delta.right.double()[:, order]
        return LowRank(left, values.abs()[order].diag(), right, orthonormal=True)
    blocks = diagonal_blocks(core)
    sizes = {block.stop - block.start for block in blocks} if len(blocks) > 1 else {0}
    if len(sizes) == 1 and len(blocks) > 1:
        parts = zip(*thin_svds(torch.stack([core[block, block] for block in blocks])), strict=True)
    else:
        parts = (thin_svd(core[block, block]) for block in blocks)
    inside, values, across = zip(*parts, strict=True)
    values = torch.cat(list(values))
    order = values.argsort(descending=True, stable=True)
    left, right = (
        turn if is_identity(side) else side.double() @ turn
        for side, turn in (
            (delta.left, torch.block_diag(*inside)[:, order]),
            (delta.right, torch.block_diag(*across)[:, order]),
        )
    )
    return LowRank(left, values[order].diag(), right, orthonormal=True)


def _ordered(values: Float[Tensor, " r"]) -> bool:
    return bool((values >= 0).all()) and bool((values[1:] <= values[:-1]).all())


def _of_core(delta: LowRank, count: int) -> Directions:
    """The triplets of a matrix between orthonormal sides, from its core."""
    if 0 in delta.core.shape:
        return _none(delta.shape[0], delta.shape[1], delta.device)
    turned = singular_core(delta)
    values = turned.core.diagonal().double()
    rounding = CANCELLATION * values.norm() * len(values)
    kept = min(count, int((values > torch.maximum(RANK_TOLERANCE * values[0], rounding)).sum()))
    return fix_signs(Directions(turned.left[:, :kept].double(), values[:kept], turned.right[:, :kept].double()))


def _none(m: int, n: int, device: torch.device) -> Directions:
    left, values, right = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((m, 0), (0,), (n, 0)))
    return Directions(left, values, right)
