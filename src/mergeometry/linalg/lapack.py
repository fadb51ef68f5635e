"""Decompositions of tensors in main memory, by LAPACK as SciPy calls it: one thread, the same bits every time."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from mergeometry.deferred import Float, Tensor, np, scipy, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.tolerances import RANK_TOLERANCE, WELL_CONDITIONED, DecompositionFallbackWarning

_SPLIT = 1e-14
"""Share of its diagonal neighbours below which an off-diagonal entry of a tridiagonal matrix counts as zero."""

_PANEL = 20
"""Columns that are reduced together: of 8 to 48, these take least (a fifteenth less than LAPACK's 32 at size 768)."""

_SMALL = 64
"""Size below which the choice of driver costs no time."""


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
    return _descending(values), _descending(vectors)


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
    return _descending(values), _descending(vectors)


def gram(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "n n"]:
    """Upper triangle of ``matrix.T @ matrix`` in float64; the lower triangle is not filled."""
    array = matrix.to(torch.float64).numpy()
    # BLAS wants columns one after another: a row-major array is its transpose in that order, so nothing is copied.
    flipped = not array.flags.f_contiguous
    (syrk,) = scipy.linalg.get_blas_funcs(("syrk",), (array,))
    return torch.from_numpy(syrk(1.0, array.T if flipped else array, trans=not flipped, lower=True).T)


def times_symmetric(matrix: Float[Tensor, "m n"], symmetric: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``matrix @ symmetric`` in float64; only the upper triangle of the latter is read."""
    blas: Any = scipy.linalg.blas  # its stubs lack these routines
    triangle = symmetric.numpy().T  # its lower triangle, column by column: no copy of what `gram` gives
    if matrix.mT.is_contiguous():
        return torch.from_numpy(blas.dsymm(1.0, triangle, matrix.numpy(), side=1, lower=1))
    return torch.from_numpy(blas.dsymm(1.0, triangle, matrix.contiguous().numpy().T, side=0, lower=1).T)


def solve_gram(target: Float[Tensor, "m n"], gram: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``target gram^+``; only the upper triangle of the positive semidefinite matrix is read.

    Raises:
        NumericalError: every LAPACK driver failed.
    """
    lapack: Any = scipy.linalg.lapack  # its stubs lack these routines
    array = gram.numpy().T  # its lower triangle, column by column as LAPACK wants it
    norm = float((gram.triu() + gram.triu(1).mT).abs().sum(dim=0).max())
    factor, failed = lapack.dpotrf(array, lower=1)
    if not failed:
        reciprocal, failed = lapack.dpocon(factor, norm, uplo="L")
        if not failed and reciprocal > WELL_CONDITIONED:
            answer, _ = lapack.dpotrs(factor, target.numpy().T, lower=1)
            return torch.from_numpy(answer.T)
    values, vectors = symmetric_eigen(gram, gram.shape[0])
    kept = values > RANK_TOLERANCE**2 * values[0]
    values, vectors = values[kept], vectors[:, kept]
    return (target @ vectors / values) @ vectors.mT


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
    reduced, diagonal, off_diagonal, reflectors, failed = lapack.dsytrd(array, lower=1, lwork=_PANEL * size)
    if failed or np.any(np.abs(off_diagonal) <= _SPLIT * (np.abs(diagonal[1:]) + np.abs(diagonal[:-1]))):
        return None  # it falls apart into blocks, which `evr` takes one by one
    values, failed = lapack.dsterf(diagonal, off_diagonal)
    if failed:
        return None
    one_block, ends = np.ones(size, np.int32), np.full(size, size, np.int32)
    vectors, failed = lapack.dstein(diagonal, off_diagonal, values[-count:], one_block, ends)
    if failed:
        return None
    # The reflectors leave the first coordinate alone; where they lie, column by column, one row below.
    below = np.lib.stride_tricks.as_strided(reduced.reshape(-1, order="F")[1:], (size, size - 1), reduced.strides)
    vectors[1:], _, _ = lapack.dormqr("L", "N", below, reflectors, vectors[1:], lwork=64 * size)
    return values, vectors


def _descending(array: np.ndarray) -> Tensor:
    """What LAPACK gives for ascending eigenvalues, from the last entry or column to the first, row by row."""
    return torch.from_numpy(array[..., ::-1].copy())


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
