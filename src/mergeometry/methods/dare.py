"""DARE: drop entries at random, rescale the rest, add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.methods.base import Density, Drawing, Rescale, check_mean, dense_deltas, parameters, shares, weighed
from mergeometry.values import Delta


@parameters
class Dare(Drawing):
    """Drop each entry of each task vector at random, rescale those that stay, and add.

    Law: ``tau = sum_t w_t (m_t * tau_t) / density``, the entries of ``m_t`` one with probability ``density`` and
    zero otherwise; its expectation is the sum of the task vectors. The recipe's ``seed`` decides the ``m_t``. With
    ``normalize``, it is divided by ``sum_t w_t``.
    """

    source: ClassVar[str] = "Yu et al. 2024, Language models are super Mario, arXiv 2311.03099, section 3.2"
    has_parts: ClassVar[bool] = True

    density: Density = 0.1
    rescale: Rescale = True
    normalize: Annotated[bool, Field(description="divide by the sum of the weights")] = False

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that add up to zero where the sum is divided by them."""
        super().check(tasks, shape, weights)
        if self.normalize:
            check_mean(weights)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Drop, rescale and add."""
        total = torch.zeros_like(deltas[0])
        for delta, share in zip(self.drop(deltas), shares(weights, normalize=self.normalize), strict=True):
            total.add_(delta, alpha=share)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector, rescaled, times its model's weight or share."""
        pairs = zip(self.drop(dense_deltas(deltas)), shares(weights, normalize=self.normalize), strict=True)
        return [weighed(delta, share) for delta, share in pairs]
