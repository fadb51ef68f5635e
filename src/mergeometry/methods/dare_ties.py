"""DARE with TIES: drop entries at random, rescale the rest, elect a sign, average what agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import (
    Density,
    Drawing,
    Pieces,
    Piecewise,
    Rescale,
    check_votes,
    dense_deltas,
    merged_in_pieces,
    parameters,
)
from mergeometry.methods.families.electing import Dropping, elected, elected_by_task, elected_whole
from mergeometry.values import Delta


@parameters
class DareTies(Drawing):
    """Drop each entry of each task vector at random, rescale those that stay, then elect and average as TIES does.

    Law: ``tau_t' = (m_t * tau_t) / density``, the entries of ``m_t`` one with probability ``density``; then
    ``tau = sum_A w_t tau_t' / sum_A w_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t w_t tau_t'``, zero where that sum is zero. With ``normalize: false`` the weights multiply before the
    election, and what agrees is added: ``tau = sum_A w_t tau_t'``. The drop replaces the trimming of TIES, which would
    find nothing left to trim where ``density`` is below the share that it keeps.
    """

    source: ClassVar[str] = (
        "Yu et al. 2024, Language models are super Mario, arXiv 2311.03099, sections 3.2 and 3.3; "
        "Yadav et al. 2023, TIES-merging, arXiv 2306.01708"
    )
    weights_are_shares: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True

    density: Density = 0.1
    rescale: Rescale = True
    normalize: Annotated[
        bool, Field(description="average what agrees, which weights are shares of; false adds it, times the weights")
    ] = True

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that have no weighted mean."""
        if self.normalize:
            check_votes("dare_ties", weights)
        super().check(tasks, shape, weights)

    @property
    def pieces(self) -> Pieces:
        """Entries are drawn for from the first to the last."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Drop, rescale, elect, and average pieces."""
        return Dropping(self.drops(len(weights)), elected(weights, normalize=self.normalize))

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
