"""Singular value decompositions that do not fail, and leading directions that cost less than a full one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from mergeometry.deferred import Float, Tensor, np, scipy, torch
from mergeometry.errors import NumericalError
from mergeometry.values import Delta, Directions, LowRank

RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest are zero: float32 task vectors resolve no direction there."""

CANCELLATION = 1e-14
"""Singular values below this share of the product of the factors' norms are what cancellation leaves in float64."""


_SPLIT = 1e-14
"""Share of its diagonal neighbours below which an off-diagonal entry of a tridiagonal matrix counts as zero."""


_SMALL = 64
"""Size below which the choice of driver costs no time."""


_Solver: TypeAlias = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class DecompositionFallbackWarning(UserWarning):
    """A LAPACK driver failed on a matrix and another one was used; the run record counts these."""


def thin_svd(
    matrix: Float[Tensor, "m n"],
) -> tuple[Float[Tensor, "m q"], Float[Tensor, " q"], Float[Tensor, "n q"]]:
    """Decompose ``matrix = U diag(s) V.T`` in float64 with ``q = min(m, n)`` columns, values descending.

    LAPACK's divide-and-conquer driver is fastest but is known to fail on real task vectors; then the
    QR-iteration driver takes over, and a warning says so.

    Raises:
        NumericalError: an entry is not finite, or both drivers failed.
    """
    array = matrix.to(torch.float64).contiguous().numpy()
    if not np.isfinite(array).all():
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    try:
        left, values, right = scipy.linalg.svd(array, full_matrices=False, lapack_driver="gesdd", check_finite=False)
    except np.linalg.LinAlgError:
        warnings.warn("SVD: gesdd failed, gesvd used", DecompositionFallbackWarning, stacklevel=2)
        try:
            left, values, right = scipy.linalg.svd(
                array, full_matrices=False, lapack_driver="gesvd", check_finite=False
            )
        except np.linalg.LinAlgError as error:
            raise NumericalError(f"the singular value decomposition of a {tuple(array.shape)} matrix failed") from error
    return _tensor(left), _tensor(values), _tensor(right).mT.contiguous()


def symmetric_eigen(gram: Float[Tensor, "n n"], count: int) -> tuple[Float[Tensor, " count"], Float[Tensor, "n count"]]:
    """Largest ``count`` eigenvalues, descending, and eigenvectors of a symmetric matrix (upper triangle read).

    Raises:
        NumericalError: both LAPACK drivers failed.
    """
    size = gram.shape[0]
    array = gram.numpy().T  # its lower triangle, column by column as LAPACK wants it: no copy of what `gram` gives
    if count == size:
        solve = partial(_eigh, driver="evd")
    else:
        solve = partial(_eigh, driver="evr") if size < _SMALL else _leading_eigen
    try:
        values, vectors = solve(array, size, count)
    except np.linalg.LinAlgError:
        warnings.warn("eigen-decomposition: evr failed, ev used", DecompositionFallbackWarning, stacklevel=2)
        try:
            values, vectors = _eigh(array, size, size, "ev")
        except np.linalg.LinAlgError as error:
            raise NumericalError(f"the eigen-decomposition of a {size} x {size} matrix failed") from error
        values, vectors = values[-count:], vectors[:, -count:]
    return _tensor(values).flip(0), _tensor(vectors).flip(1)


def symmetric_spectrum(gram: Float[Tensor, "n n"], count: int) -> tuple[Float[Tensor, " n"], Float[Tensor, "n count"]]:
    """Every eigenvalue, descending, and the eigenvectors of the largest ``count``, in the time of `symmetric_eigen`.

    Raises:
        NumericalError: both LAPACK drivers failed.
    """
    size = gram.shape[0]
    solved = _from_tridiagonal(gram.numpy().T, size, count) if size >= _SMALL and count < size else None
    if solved is None:
        values, vectors = symmetric_eigen(gram, size)
        return values, vectors[:, :count]
    values, vectors = solved
    return _tensor(values).flip(0), _tensor(vectors).flip(1)


def gram(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "n n"]:
    """Upper triangle of ``matrix.T @ matrix`` in float64; the lower triangle is not filled."""
    array = matrix.to(torch.float64).numpy()
    # BLAS wants columns one after another: a row-major array is its transpose in that order, so nothing is copied.
    flipped = not array.flags.f_contiguous
    (syrk,) = scipy.linalg.get_blas_funcs(("syrk",), (array,))
    return torch.from_numpy(syrk(1.0, array.T if flipped else array, trans=not flipped, lower=True).T)


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
        return _of_factors(delta, count)
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
        whole = _of_factors(delta, delta.rank)
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
    return Directions(directions.left * signs, directions.values, directions.right * signs)


def _of_tall(matrix: Float[Tensor, "m n"], count: int) -> Directions:
    count = min(count, matrix.shape[1])
    return _none(*matrix.shape) if count == 0 else _decomposed(matrix, count, symmetric_eigen)[1]


def _decomposed(matrix: Float[Tensor, "m n"], count: int, solve: _Solver) -> tuple[Float[Tensor, " q"], Directions]:
    """The singular values that belong to the eigenvalues of ``solve``, and the leading triplets of a tall matrix."""
    m, n = matrix.shape
    exact = matrix.to(torch.float64)
    largest = magnitude(exact) if exact.numel() else exact.new_zeros(())
    if not bool(torch.isfinite(largest)):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    if largest == 0:
        return exact.new_zeros(n), _none(m, n)
    exact = exact / largest  # squares of very large or small entries would leave float64's range
    eigenvalues, right = solve(gram(exact), count)
    values = eigenvalues.clamp(min=0).sqrt()
    values = values.where(values > RANK_TOLERANCE * values[0], 0.0)
    kept = int((values[:count] > 0).sum())
    leading, right = values[:kept], right[:, :kept]
    left = exact @ right / leading
    return values * largest, Directions(left, leading * largest, right)


def _of_factors(delta: LowRank, count: int) -> Directions:
    left_basis, left_triangle = torch.linalg.qr(delta.left.to(torch.float64))
    right_basis, right_triangle = torch.linalg.qr(delta.right.to(torch.float64))
    inner = left_triangle @ delta.core.to(torch.float64) @ right_triangle.mT
    if 0 in inner.shape:
        return _none(*delta.shape)
    left, values, right = thin_svd(inner)
    # Adapters that cancel in a sum leave rounding error in proportion to their own size; it has no direction.
    rounding = CANCELLATION * left_triangle.norm() * delta.core.double().norm() * right_triangle.norm()
    kept = min(count, int((values > torch.maximum(RANK_TOLERANCE * values[0], rounding)).sum()))
    return fix_signs(Directions(left_basis @ left[:, :kept], values[:kept], right_basis @ right[:, :kept]))


def _eigh(array: np.ndarray, size: int, count: int, driver: str) -> tuple[np.ndarray, np.ndarray]:
    wanted = None if count == size else (size - count, size - 1)
    return scipy.linalg.eigh(array, lower=True, subset_by_index=wanted, driver=driver, check_finite=False)


def _leading_eigen(array: np.ndarray, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenpairs, ascending, by LAPACK's own steps in three quarters of the time of its `evr` driver.

    For a part of a spectrum `evr` bisects, eigenvalue by eigenvalue; all of them by `sterf` take a third of that.
    """
    solved = _from_tridiagonal(array, size, count)
    if solved is None:
        return _eigh(array, size, count, "evr")
    values, vectors = solved
    return values[-count:], vectors


def _from_tridiagonal(array: np.ndarray, size: int, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """All eigenvalues, ascending, and the vectors of the largest ``count``; None where another driver is needed."""
    lapack: Any = scipy.linalg.lapack  # its stubs lack these routines
    reduced, diagonal, off_diagonal, reflectors, failed = lapack.dsytrd(array, lower=1, lwork=32 * size)
    if failed or np.any(np.abs(off_diagonal) <= _SPLIT * (np.abs(diagonal[1:]) + np.abs(diagonal[:-1]))):
        return None  # it falls apart into blocks, which `evr` takes one by one
    values, failed = lapack.dsterf(diagonal, off_diagonal)
    if failed:
        return None
    one_block, ends = np.ones(size, np.int32), np.full(size, size, np.int32)
    vectors, failed = lapack.dstein(diagonal, off_diagonal, values[-count:], one_block, ends)
    if failed:
        return None
    # The reflectors leave the first coordinate alone.
    vectors[1:], _, _ = lapack.dormqr("L", "N", reduced[1:, :-1], reflectors, vectors[1:], lwork=64 * size)
    return values, vectors


def _none(m: int, n: int) -> Directions:
    return Directions(*(torch.zeros(shape, dtype=torch.float64) for shape in ((m, 0), (0,), (n, 0))))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
