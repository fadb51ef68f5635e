"""Model breadcrumbs with an election: entries against the sign of the sum are left out too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.selection import erase_minority, without_tails
from mergeometry.methods.base import Elementwise, Sizes, Work, dense_deltas, parameters
from mergeometry.values import Delta


@parameters
class BreadcrumbsTies(Elementwise):
    """Leave out each task vector's outliers and its small entries, elect a sign, and add what agrees.

    Law, tensor by tensor: ``tau = sum_A w_t (m_t * tau_t)`` with the masks ``m_t`` of `breadcrumbs`, over the set ``A``
    of tasks whose term has the sign of ``sum_t w_t (m_t * tau_t)``; zero where that sum is zero. What agrees is
    added, not averaged as in `ties`: a weight multiplies its task vector.
    """

    source: ClassVar[str] = (
        "Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3; "
        "Yadav et al. 2023, TIES-merging, arXiv 2306.01708; their combination as in MergeKit, arXiv 2403.13257"
    )
    has_parts: ClassVar[bool] = True

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.1
    gamma: Annotated[float, Field(ge=0, lt=1, description="share of largest entries left out of each")] = 0.01

    @property
    def equal_models(self) -> Literal["sum"]:
        """Equal task vectors have equal masks, and all agree."""
        return "sum"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The sum and its signs, and what masking one task vector at a time takes."""
        return Work(0.0, 5 * sizes.piece)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Mask, elect, and add what agrees."""
        total = torch.zeros_like(deltas[0])
        for part in self._agreeing(deltas, weights):
            total.add_(part)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's agreeing entries times its model's weight."""
        return list(self._agreeing(dense_deltas(deltas), weights))

    def _agreeing(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> list[Tensor]:
        # Weighed before the election: a model of negative weight votes against the sign of its entries.
        pairs = zip(deltas, weights, strict=True)
        kept = [without_tails(delta, self.density, self.gamma) * weight for delta, weight in pairs]
        erase_minority(kept)
        return kept
