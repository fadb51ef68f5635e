"""How the subspaces that two task vectors act in lie to each other."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch


def principal_cosines(one: Float[Tensor, "m k"], other: Float[Tensor, "m l"]) -> Float[Tensor, " q"]:
    """Cosines of the principal angles between the spans of two orthonormal bases, descending: ``svdvals(U_s^T U_t)``.

    Source: Bjorck and Golub 1973, Numerical methods for computing angles between linear subspaces.
    """
    between = one.mT.double() @ other.double()
    if 0 in between.shape:
        return between.new_zeros(0)
    return torch.linalg.svdvals(between).clamp(max=1)


def subspace_overlap(between: Float[Tensor, "k l"]) -> float:
    """``||U_s^T U_t||_F^2 / min(k, l)`` of ``U_s^T U_t``: the mean squared cosine of the principal angles.

    1 where one span holds the other, 0 where one is empty. Random subspaces have ``max(k, l) / m`` on average.
    """
    smaller = min(between.shape)
    return float(between.square().sum()) / smaller if smaller else 0.0
