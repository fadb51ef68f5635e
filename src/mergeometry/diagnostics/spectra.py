"""How many directions carry a matrix: functions of its singular values alone."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch


def energy_kept(values: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Share of ``||tau||_F^2`` that the leading 1, 2, ..., q directions hold; zeros for the zero matrix."""
    energy = values.double().square()
    total = energy.sum()
    return energy.cumsum(0) / total if total > 0 else energy


def effective_rank(values: Float[Tensor, " q"]) -> float:
    """``exp(H(p))`` with ``p = s^2 / sum s^2``: q for equal singular values, 1 for one; 0 for the zero matrix.

    Source: Roy and Vetterli 2007, The effective rank, with ``p = s / sum s``; here energies, as in `energy_kept`.
    """
    energy = values.double().square()
    total = energy.sum()
    if not total > 0:
        return 0.0
    shares = energy / total
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def stable_rank(values: Float[Tensor, " q"]) -> float:
    """``||tau||_F^2 / s_1^2``; 0 for the zero matrix.

    Source: Rudelson and Vershynin 2007, Sampling from large matrices.
    """
    if not values.numel() or not values[0] > 0:
        return 0.0
    return float((values.double() / values[0].double()).square().sum())
