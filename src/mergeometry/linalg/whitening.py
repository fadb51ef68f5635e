"""Isotropic spectra: a matrix with its singular vectors kept and its singular values made equal."""

from __future__ import annotations

from mergeometry.deferred import torch
from mergeometry.linalg.polar import polar, polar_of_factors
from mergeometry.products import product
from mergeometry.values import Delta, LowRank


def isotropic(delta: Delta) -> Delta:
    """``mean(D) P Q^T`` of ``P D Q^T``, over the non-zero singular values; low-rank in, low-rank out.

    A zero singular value has no direction of its own, so it takes no part in the mean either.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    if isinstance(delta, LowRank):
        whitened, values = polar_of_factors(delta)
        return whitened.scaled(float(values.mean())) if len(values) else whitened
    factor, values = polar(delta)
    return (factor * values.mean()).to(delta.dtype) if len(values) else torch.zeros_like(delta)


def remove_left(delta: Delta, basis: torch.Tensor) -> Delta:
    """``(I - P P^T) tau`` for orthonormal columns P: what is left of a matrix outside a column space."""
    if isinstance(delta, LowRank):
        left = delta.left.to(basis.dtype)
        core, right = delta.core.to(basis.dtype), delta.right.to(basis.dtype)
        return LowRank(left - basis @ (basis.mT @ left), core, right)
    exact = delta.to(basis.dtype)
    return exact - product(basis, product(basis.mT, exact))
