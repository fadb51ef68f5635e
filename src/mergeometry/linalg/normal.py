"""Least-squares problems with many right-hand sides, from their normal equations."""

from __future__ import annotations

from typing import Any

from mergeometry.deferred import Float, Tensor, scipy, torch
from mergeometry.linalg.svd import RANK_TOLERANCE, symmetric_eigen

WELL_CONDITIONED = 1e-8
"""Reciprocal condition number above which a Cholesky factor gives eight digits, in a tenth of the time."""


def solve_gram(target: Float[Tensor, "m n"], gram: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``target gram^+`` for a positive semidefinite matrix, in float64; only its upper triangle is read.

    Directions whose eigenvalue is below the square of `RANK_TOLERANCE` times the largest hold no data: the answer
    is zero there, which is the minimiser of least norm.

    Raises:
        NumericalError: every LAPACK driver failed.
    """
    if gram.numel() == 0:
        return target
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
