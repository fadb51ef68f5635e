"""DELLA without its election: drop small entries more often than large ones, rescale the rest, add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import (
    Density,
    Pieces,
    Piecewise,
    RankedDrawing,
    Rescale,
    dense_deltas,
    merged_in_pieces,
    parameters,
    shares,
    weighed,
)
from mergeometry.methods.families.electing import Dropping, added
from mergeometry.values import Delta


@parameters
class DellaLinear(RankedDrawing):
    """Drop entries at random, small ones more often than large ones, rescale each that stays, and add.

    Law: ``tau = sum_t w_t (m_t * tau_t / p_t)``, the entries of ``m_t`` one with the probabilities ``p_t`` and zero
    otherwise; its expectation is the sum of the task vectors. Within a row ``p_t`` rises evenly with the rank of an
    entry's magnitude, from ``density - epsilon`` to ``density + epsilon``. The recipe's ``seed`` decides the ``m_t``.
    With ``normalize``, it is divided by ``sum_t w_t``.
    """

    source: ClassVar[str] = "Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, section 3.1"
    has_parts: ClassVar[bool] = True

    density: Density = 0.5
    epsilon: Annotated[
        float, Field(ge=0, lt=0.5, description="how far the probabilities of a row's entries lie from density")
    ] = 0.15
    rescale: Rescale = True
    normalize: Annotated[bool, Field(description="divide by the sum of the weights")] = False

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    @property
    def pieces(self) -> Pieces:
        """Rows are ranked and drawn for from the first to the last."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Drop, rescale and add pieces."""
        drops = self.ranked_drops(shape, len(weights))
        return Dropping(drops, added(shares(weights, normalize=self.normalize)), drops[0].step)

    @property
    def _streams(self) -> bool:
        return self.rescale != "l1"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Drop, rescale and add."""
        if self._streams and deltas[0].numel():
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)
        total = torch.zeros_like(deltas[0])
        for delta, share in zip(self.drop(deltas), shares(weights, normalize=self.normalize), strict=True):
            total.add_(delta, alpha=share)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector, rescaled, times its model's weight or share."""
        pairs = zip(self.drop(dense_deltas(deltas)), shares(weights, normalize=self.normalize), strict=True)
        return [weighed(delta, share) for delta, share in pairs]
