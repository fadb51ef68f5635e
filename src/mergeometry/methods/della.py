"""DELLA: drop small entries more often than large ones, rescale the rest, elect a sign, average what agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.selection import elected_mean, elected_shares
from mergeometry.methods.base import Density, RankedDrawing, dense_deltas, parameters
from mergeometry.values import Delta


@parameters
class Della(RankedDrawing):
    """Drop entries at random, small ones more often than large ones, then elect and average as TIES does.

    Law: ``tau_t' = m_t * tau_t / p_t``, the entries of ``m_t`` one with the probabilities ``p_t``, which rise within a
    row evenly with the rank of an entry's magnitude, from ``density - epsilon`` to ``density + epsilon``; then
    ``tau = sum_A w_t tau_t' / sum_A w_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t w_t tau_t'``, zero where that sum is zero.
    """

    source: ClassVar[str] = "Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, section 3"
    weights_are_shares: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True

    density: Density = 0.5
    epsilon: Annotated[
        float, Field(ge=0, lt=0.5, description="how far the probabilities of a row's entries lie from density")
    ] = 0.15

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse probabilities outside 0 to 1, and weights that have no weighted mean."""
        super().check(tasks, shape, weights)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError("della elects by weighted vote: weights must not be negative, nor all zero")

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Drop, rescale, elect, and average what agrees."""
        if deltas[0].numel() == 0:
            return torch.zeros_like(deltas[0])
        return elected_mean(self.drop(deltas), deltas[0].numel(), weights)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's share of the mean: its agreeing entries over the weight of all that agree."""
        kept = self.drop(dense_deltas(deltas))
        if kept[0].numel() == 0:
            return list(kept)
        return list(elected_shares(kept, kept[0].numel(), weights))
