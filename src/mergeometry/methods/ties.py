"""TIES: trim, elect a sign, merge what agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.selection import share_of, trimmed, with_magnitudes_of
from mergeometry.methods.base import (
    Elementwise,
    Pieces,
    Piecewise,
    Sizes,
    Work,
    check_votes,
    dense_deltas,
    merged_in_pieces,
    parameters,
)
from mergeometry.methods.families.electing import elected, elected_by_task, elected_whole, trimming
from mergeometry.values import Delta


@parameters
class Ties(Elementwise):
    """Keep each task's largest entries, elect a sign for each entry, average the tasks that agree with it.

    Law, tensor by tensor: ``tau = sum_A w_t trim(tau_t) / sum_A w_t`` over the set ``A`` of tasks whose
    trimmed entry has the sign of ``sum_t w_t trim(tau_t)``; zero where that sum is zero. Entries that
    tie at the threshold are all kept. With ``normalize: false`` the weights multiply before the election, and what
    agrees is added: ``tau = sum_A w_t trim(tau_t)``. The paper trims over the whole model, this method per tensor.
    """

    source: ClassVar[str] = "Yadav et al. 2023, TIES-merging, arXiv 2306.01708"
    weights_are_shares: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ("density",)

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.2
    rescale: Annotated[
        bool, Field(description="multiply what is kept so that its magnitudes add up to what they did before")
    ] = False
    normalize: Annotated[
        bool, Field(description="average what agrees, which weights are shares of; false adds it, times the weights")
    ] = True

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """All agree, and the mean of equal ones is any of them."""
        return "same" if self.normalize else "sum"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that have no weighted mean where one is taken."""
        if self.normalize:
            check_votes("ties", weights)
        super().check(tasks, shape, weights)

    def extra_cost(self, sizes: Sizes) -> Work:
        """The kept entries of each task where these are rescaled or added."""
        return Work(0.0, sizes.piece * (sizes.tasks + 2) if self.rescale or not self.normalize else 0)

    @property
    def pieces(self) -> Pieces:
        """The smallest entries to keep of the whole tensor come first."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Trim, elect, and average pieces."""
        size = math.prod(shape)
        counts = [share_of(size, one.density) for one in self.each(len(weights))]
        return trimming(counts, size, elected(weights, normalize=self.normalize))

    @property
    def _streams(self) -> bool:
        return not self.rescale

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Trim, elect, and average what agrees."""
        if deltas[0].numel() == 0:
            return torch.zeros_like(deltas[0])
        if self._streams:
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)
        kept = self._each_kept(deltas)
        return elected_whole(kept, weights, normalize=self.normalize)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's share of the mean: its agreeing entries over the weight of all that agree; or these entries."""
        return elected_by_task(self._each_kept(dense_deltas(deltas)), weights, normalize=self.normalize)

    def _each_kept(self, deltas: Sequence[Float[Tensor, "*shape"]]) -> list[Float[Tensor, "*shape"]]:
        return [one._kept(delta) for one, delta in zip(self.each(len(deltas)), deltas, strict=True)]

    def _kept(self, delta: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        kept = trimmed(delta, self.density)
        return with_magnitudes_of(kept, delta) if self.rescale else kept
