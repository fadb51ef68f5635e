"""TIES: trim, elect a sign, merge what agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.selection import elected_mean, elected_shares, share_of
from mergeometry.methods.base import Elementwise, dense_deltas, parameters
from mergeometry.values import Delta


@parameters
class Ties(Elementwise):
    """Keep each task's largest entries, elect a sign for each entry, average the tasks that agree with it.

    Law, tensor by tensor: ``tau = sum_A w_t trim(tau_t) / sum_A w_t`` over the set ``A`` of tasks whose
    trimmed entry has the sign of ``sum_t w_t trim(tau_t)``; zero where that sum is zero. Entries that
    tie at the threshold are all kept. The paper trims over the whole model, this method per tensor.
    """

    source: ClassVar[str] = "Yadav et al. 2023, TIES-merging, arXiv 2306.01708"
    weights_are_shares: ClassVar[bool] = True

    has_parts: ClassVar[bool] = True

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.2

    @property
    def equal_models(self) -> Literal["same"]:
        """All agree, and the mean of equal ones is any of them."""
        return "same"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that have no weighted mean."""
        super().check(tasks, shape, weights)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError("ties elects by weighted vote: weights must not be negative, nor all zero")

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Trim, elect, and average what agrees."""
        if deltas[0].numel() == 0:
            return torch.zeros_like(deltas[0])
        return elected_mean(deltas, share_of(deltas[0].numel(), self.density), weights)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's share of the mean: its agreeing entries over the weight of all that agree."""
        dense = dense_deltas(deltas)
        if dense[0].numel() == 0:
            return list(dense)
        return list(elected_shares(dense, share_of(dense[0].numel(), self.density), weights))
