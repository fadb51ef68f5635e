"""Model breadcrumbs: leave out the largest and the smallest entries of each task vector, add the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.selection import without_tails
from mergeometry.methods.base import Elementwise, dense_deltas, parameters, weighed
from mergeometry.values import Delta


@parameters
class Breadcrumbs(Elementwise):
    """Leave out each task vector's outliers and its small entries, and add what is left.

    Law, tensor by tensor: ``tau = sum_t w_t (m_t * tau_t)``. The mask ``m_t`` leaves out the share ``gamma`` of entries
    of largest magnitude, then the smallest, until the share ``density`` is left; where both shares together exceed
    one, fewer of the largest are left out. Entries that tie with the last ones kept are kept.
    """

    source: ClassVar[str] = "Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3"
    has_parts: ClassVar[bool] = True

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.1
    gamma: Annotated[float, Field(ge=0, lt=1, description="share of largest entries left out of each")] = 0.01

    @property
    def equal_models(self) -> Literal["sum"]:
        """Equal task vectors have equal masks."""
        return "sum"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Mask and add."""
        total = torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, weights, strict=True):
            total.add_(without_tails(delta, self.density, self.gamma), alpha=weight)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector times its model's weight."""
        kept = [without_tails(delta, self.density, self.gamma) for delta in dense_deltas(deltas)]
        return [weighed(delta, weight) for delta, weight in zip(kept, weights, strict=True)]
