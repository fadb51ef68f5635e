"""DARE: drop entries at random, rescale the rest, add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.methods.base import Density, Drawing, dense_deltas, parameters, weighed
from mergeometry.values import Delta


@parameters
class Dare(Drawing):
    """Drop each entry of each task vector at random, rescale those that stay, and add.

    Law: ``tau = sum_t w_t (m_t * tau_t) / density``, the entries of ``m_t`` one with probability ``density`` and
    zero otherwise; its expectation is the sum of the task vectors. The recipe's ``seed`` decides the ``m_t``.
    """

    source: ClassVar[str] = "Yu et al. 2024, Language models are super Mario, arXiv 2311.03099, section 3.2"
    has_parts: ClassVar[bool] = True

    density: Density = 0.1

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Drop, rescale and add."""
        total = torch.zeros_like(deltas[0])
        for delta, weight in zip(self.drop(deltas), weights, strict=True):
            total.add_(delta, alpha=weight)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector, rescaled, times its model's weight."""
        kept = self.drop(dense_deltas(deltas))
        return [weighed(delta, weight) for delta, weight in zip(kept, weights, strict=True)]
