"""Model breadcrumbs with an election: entries against the sign of the sum are left out too."""

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
    Sizes,
    Work,
    check_votes,
    dense_deltas,
    merged_in_pieces,
    parameters,
)
from mergeometry.methods.families.electing import elected, elected_by_task, elected_whole, masking
from mergeometry.values import Delta


@parameters
class BreadcrumbsTies(Elementwise):
    """Leave out each task vector's outliers and its small entries, elect a sign, and add what agrees.

    Law, tensor by tensor: ``tau = sum_A w_t (m_t * tau_t)`` with the masks ``m_t`` of `breadcrumbs`, over the set ``A``
    of tasks whose term has the sign of ``sum_t w_t (m_t * tau_t)``; zero where that sum is zero. What agrees is
    added, not averaged as in `ties`: a weight multiplies its task vector. With ``normalize`` it is divided by
    ``sum_A w_t``.
    """

    source: ClassVar[str] = (
        "Davari and Belilovsky 2023, Model breadcrumbs, arXiv 2312.06795, section 3; "
        "Yadav et al. 2023, TIES-merging, arXiv 2306.01708; their combination as in MergeKit, arXiv 2403.13257"
    )
    has_parts: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ("density", "gamma")

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.1
    gamma: Annotated[float, Field(ge=0, lt=1, description="share of largest entries left out of each")] = 0.01
    rescale: Annotated[
        bool, Field(description="multiply what is kept so that its magnitudes add up to what they did before")
    ] = False
    normalize: Annotated[
        bool, Field(description="average what agrees, which weights are shares of; false adds it, times the weights")
    ] = False

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """Equal task vectors have equal masks, and all agree."""
        return "same" if self.normalize else "sum"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that have no weighted mean where one is taken."""
        if self.normalize:
            check_votes("breadcrumbs_ties", weights)
        super().check(tasks, shape, weights)

    def extra_cost(self, sizes: Sizes) -> Work:
        """The sum and its signs, and what masking one task vector at a time takes."""
        return Work(0.0, 5 * sizes.piece)

    @property
    def pieces(self) -> Pieces:
        """The smallest and the largest entries to keep of the whole tensor come first."""
        return "passes" if self._streams else "tensor"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Mask and elect pieces."""
        size = math.prod(shape)
        counts = [tails(size, one.density, one.gamma) for one in self.each(len(weights))]
        return masking(counts, size, elected(weights, normalize=self.normalize))

    @property
    def _streams(self) -> bool:
        return not self.rescale

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Mask, elect, and add what agrees."""
        if deltas[0].numel() == 0:
            return torch.zeros_like(deltas[0])
        if self._streams:
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)
        kept = self._each_kept(deltas)
        return elected_whole(kept, weights, normalize=self.normalize)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task's agreeing entries times its model's weight, or over the weight of all that agree."""
        return elected_by_task(self._each_kept(dense_deltas(deltas)), weights, normalize=self.normalize)

    def _each_kept(self, deltas: Sequence[Float[Tensor, "*shape"]]) -> list[Float[Tensor, "*shape"]]:
        return [one._kept(delta) for one, delta in zip(self.each(len(deltas)), deltas, strict=True)]

    def _kept(self, delta: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        kept = without_tails(delta, self.density, self.gamma)
        return with_magnitudes_of(kept, delta) if self.rescale else kept
