"""Tells groups of features apart by a linear function of each, fitted in closed form to a few examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

SHRINKAGE = 0.5
"""Share of the covariance that is replaced by its mean variance: few examples know few of its directions."""


def discriminant(
    groups: Sequence[Float[Tensor, "examples d"]],
) -> tuple[Float[Tensor, "groups d"], Float[Tensor, " groups"]]:
    """Weights and offsets of linear discriminant analysis: ``x @ weight.T + bias`` is largest for the group of ``x``.

    Every group counts alike, however many examples it has. The covariance within groups is shared by all, and shrunk
    towards a multiple of the identity. Computed in float64.

    Source: Friedman, Regularized discriminant analysis (1989).
    """
    means = torch.stack([group.double().mean(dim=0) for group in groups])
    within = torch.cat([group.double() - mean for group, mean in zip(groups, means, strict=True)])
    covariance = within.T @ within / max(len(within) - len(groups), 1)
    variance = covariance.diagonal().mean()
    if not variance > 0:  # examples of a group that are all the same say nothing of directions
        covariance, variance = torch.zeros_like(covariance), torch.ones_like(variance)
    identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    weight = torch.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * variance * identity, means.T).T
    return weight, -0.5 * (weight * means).sum(dim=1)
