"""DELLA: drop small entries more often than large ones, rescale the rest, elect a sign, average what agrees."""

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
    check_votes,
    dense_deltas,
    merged_in_pieces,
    parameters,
)
from mergeometry.methods.families.electing import Dropping, elected, elected_by_task, elected_whole
from mergeometry.values import Delta


@parameters
class Della(RankedDrawing):
    """Drop entries at random, small ones more often than large ones, then elect and average as TIES does.

    Law: ``tau_t' = m_t * tau_t / p_t``, the entries of ``m_t`` one with the probabilities ``p_t``, which rise within a
    row evenly with the rank of an entry's magnitude, from ``density - epsilon`` to ``density + epsilon``; then
    ``tau = sum_A w_t tau_t' / sum_A w_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t w_t tau_t'``, zero where that sum is zero. With ``normalize: false`` the weights multiply before the
    election, and what agrees is added: ``tau = sum_A w_t tau_t'``.
    """

    source: ClassVar[str] = "Deep et al. 2024, DELLA-Merging, arXiv 2406.11617, section 3"
    weights_are_shares: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True

    density: Density = 0.5
    epsilon: Annotated[
        float, Field(ge=0, lt=0.5, description="how far the probabilities of a row's entries lie from density")
    ] = 0.15
    rescale: Rescale = True
    normalize: Annotated[
        bool, Field(description="average what agrees, which weights are shares of; false adds it, times the weights")
    ] = True

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse probabilities outside 0 to 1, and weights that have no weighted mean."""
        if self.normalize:
            check_votes("della", weights)
        super().check(tasks, shape, weights)

    @property
    def pieces(self) -> Pieces:
        """Rows are ranked and drawn for from the first to the last."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Drop, rescale, elect, and average pieces."""
        drops = self.ranked_drops(shape, len(weights))
        return Dropping(drops, elected(weights, normalize=self.normalize), drops[0].step)

    @property
    def _streams(self) -> bool:
        return self.rescale != "l1"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Drop, rescale, elect, and average what agrees."""
        if deltas[0].numel() == 0:
            return torch.zeros_like(deltas[0])
        if self._streams:
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)
        kept = self.drop(deltas)
        return elected_whole(kept, weights, normalize=self.normalize)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's share of the mean: its agreeing entries over the weight of all that agree; or these entries."""
        return elected_by_task(self.drop(dense_deltas(deltas)), weights, normalize=self.normalize)
