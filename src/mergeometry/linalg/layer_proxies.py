"""Two figures of an update beside the weights that it changes: how concentrated it is, and how far they commute."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.values import Delta, LowRank


def effective_rank(values: Float[Tensor, " k"]) -> float:
    """``exp(H(p))`` of the shares ``p = s^2 / sum s^2`` of the squared singular values, largest first; 0 of zeros."""
    values = values[values > 0]
    if not len(values):
        return 0.0
    shares = (values / values[0]).square()
    shares /= shares.sum()
    return float(torch.special.entr(shares).sum().exp())


def commutator_conflict(weight: Float[Tensor, "m n"], delta: Delta) -> float:
    """``(||W tau^T - tau W^T|| + ||W^T tau - tau^T W||) / (2 ||W|| ||tau||)``; 0 where either is zero.

    ``||X - X^T||^2`` is ``2 ||X||^2 - 2 tr(X X)``, so that nothing larger than the square of the shorter side is
    formed, and for thin factors nothing but thin products. What cancels leaves half of float64's digits.
    """
    exact = weight.double()
    if isinstance(delta, LowRank):
        first, second, crossed, size = _of_factors(exact, delta)
    else:
        first, second, crossed, size = _of_dense(exact, delta.double())
    norms = float(exact.norm()) * size
    if norms == 0:
        return 0.0
    return sum(max(2 * squared - 2 * crossed, 0.0) ** 0.5 for squared in (first, second)) / (2 * norms)


def _of_dense(weight: Float[Tensor, "m n"], delta: Float[Tensor, "m n"]) -> tuple[float, float, float, float]:
    """``||W tau^T||^2``, ``||W^T tau||^2``, the trace of either product's square, and ``||tau||``."""
    if weight.shape[0] < weight.shape[1]:
        second, first, crossed, size = _of_dense(weight.mT, delta.mT)
        return first, second, crossed, size
    across = delta.mT @ weight
    first = float(((weight.mT @ weight) * (delta.mT @ delta)).sum())
    return first, float(across.square().sum()), float((across * across.mT).sum()), float(delta.norm())


def _of_factors(weight: Float[Tensor, "m n"], delta: LowRank) -> tuple[float, float, float, float]:
    left, right = delta.left.double() @ delta.core.double(), delta.right.double()
    on_right, on_left = weight @ right, weight.mT @ left
    inner = on_left.mT @ right
    first = float(((on_right.mT @ on_right) * (left.mT @ left)).sum())
    second = float(((on_left.mT @ on_left) * (right.mT @ right)).sum())
    size = float(((left.mT @ left) * (right.mT @ right)).sum())
    return first, second, float((inner * inner.mT).sum()), max(size, 0.0) ** 0.5
