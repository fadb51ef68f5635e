"""Model breadcrumbs: leave out the largest and the smallest entries of each task vector, add the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.selection import tails, with_magnitudes_of, without_tails
from mergeometry.methods.base import (
    Elementwise,
    Pieces,
    Piecewise,
    dense_deltas,
    merged_in_pieces,
    parameters,
    shares,
    weighed,
)
from mergeometry.methods.families.electing import added, masking
from mergeometry.values import Delta


@parameters
class Breadcrumbs(Elementwise):
    """Leave out each task vector's outliers and its small entries, and add what is left.

    Law, tensor by tensor: ``tau = sum_t w_t (m_t * tau_t)``. The mask ``m_t`` leaves out the share ``gamma`` of entries
    of largest magnitude, then the smallest, until the share ``density`` is left; where both shares together exceed
    one, fewer of the largest are left out. Entries that tie with the last ones kept are kept. With ``normalize``, it is
    divided by ``sum_t w_t``.
    """

    source: ClassVar[str] = "Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3"
    has_parts: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ("density", "gamma")

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.1
    gamma: Annotated[float, Field(ge=0, lt=1, description="share of largest entries left out of each")] = 0.01
    rescale: Annotated[
        bool, Field(description="multiply what is kept so that its magnitudes add up to what they did before")
    ] = False
    normalize: Annotated[bool, Field(description="divide by the sum of the weights")] = False

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """Equal task vectors have equal masks."""
        return "same" if self.normalize else "sum"

    @property
    def pieces(self) -> Pieces:
        """The smallest and the largest entries to keep of the whole tensor come first."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Mask and add pieces."""
        size = math.prod(shape)
        counts = [tails(size, one.density, one.gamma) for one in self.each(len(weights))]
        return masking(counts, size, added(shares(weights, normalize=self.normalize)))

    @property
    def _streams(self) -> bool:
        return not self.rescale

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Mask and add."""
        if self._streams:
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)
        total = torch.zeros_like(deltas[0])
        factors = shares(weights, normalize=self.normalize)
        for one, delta, share in zip(self.each(len(deltas)), deltas, factors, strict=True):
            total.add_(one._kept(delta), alpha=share)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector times its model's weight or share."""
        factors = shares(weights, normalize=self.normalize)
        tasks = zip(self.each(len(deltas)), dense_deltas(deltas), factors, strict=True)
        return [weighed(one._kept(delta), share) for one, delta, share in tasks]

    def _kept(self, delta: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        kept = without_tails(delta, self.density, self.gamma)
        return with_magnitudes_of(kept, delta) if self.rescale else kept
