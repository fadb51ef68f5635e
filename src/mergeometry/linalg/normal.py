"""Least-squares problems with many right-hand sides, from their normal equations."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.backend import backend_of


def solve_gram(target: Float[Tensor, "m n"], gram: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``target gram^+`` for a positive semidefinite matrix, in float64; only its upper triangle is read.

    Directions whose eigenvalue is below the square of `RANK_TOLERANCE` times the largest hold no data: the answer
    is zero there, which is the minimiser of least norm.

    Raises:
        NumericalError: every LAPACK driver failed.
    """
    if gram.numel() == 0:
        return target
    return backend_of(gram).solve_gram(target, gram)
