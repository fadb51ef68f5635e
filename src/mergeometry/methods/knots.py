"""KnOTS: task vectors merged in the coordinates of the directions that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Tensor, torch
from mergeometry.linalg.election import elected_mean
from mergeometry.linalg.selection import share_of
from mergeometry.linalg.span import common_left, left_coordinates
from mergeometry.methods.base import Sizes, Spectral, Work, parameters
from mergeometry.values import Delta, LowRank, sum_of

_TIED = 1e-9
"""Relative difference under which computed coordinates count as tied at the threshold of a selection."""


@parameters
class Knots(Spectral):
    """Decompose the task vectors side by side, and merge their coordinates instead of their entries.

    Law: ``[tau_1 | ... | tau_T] = P D [Q_1 | ... | Q_T]^T``, ``tau = P combine_t(D Q_t^T)``, where ``D Q_t^T`` is
    ``P^T tau_t``. ``ties`` keeps the largest entries of each, elects a sign for each entry and averages the tasks
    that agree; ``sum`` adds, which gives the plain sum of the task vectors, the control.
    """

    source: ClassVar[str] = "Stoica et al. 2025, Model merging with SVD to tie the knots, arXiv 2410.19735, section 4"
    scale_rule: ClassVar[str] = "projection"

    combine: Annotated[Literal["ties", "sum"], Field(description="how the tasks' coordinates are merged")] = "ties"
    density: Annotated[
        float, Field(gt=0, le=1, description="share of each task's coordinates that is kept, for ties")
    ] = 0.2

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """Equal coordinates all agree."""
        return "same" if self.combine == "ties" else "sum"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The coordinates of every task at once, and directions of the output side, even where it is the longer one."""
        if self.combine == "sum":
            return Work(0.0, 0)
        (m, n), tasks = sizes.shape, sizes.tasks
        if sizes.dense:
            return Work(3.0 * tasks * m * m * n + 9.0 * m**3, tasks * sizes.piece + 56 * m * max(0, m - n))
        total = min(m, sum(rank or 0 for rank in sizes.ranks))
        return Work(4.0 * total * total * (m + tasks * n), 8 * total * (2 * m + tasks * n))

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Change to the common directions, combine, and go back."""
        if self.combine == "sum":
            # P P^T leaves every task vector as it is: the coordinates would only add rounding.
            return sum_of(deltas)
        basis = common_left(deltas)
        if basis.shape[1] == 0:
            m, n = deltas[0].shape
            return LowRank.zero(m, n, basis.device)
        # In the inputs' precision: all coordinates are in memory at once.
        dtype = next((delta.dtype for delta in deltas if isinstance(delta, Tensor)), torch.float64)
        coordinates = [left_coordinates(basis, delta).to(dtype) for delta in deltas]
        kept = share_of(coordinates[0].numel(), self.density)
        merged = elected_mean(coordinates, kept, [1.0] * len(deltas), rounding=_TIED).double()
        return LowRank(basis, torch.eye(basis.shape[1], dtype=torch.float64, device=basis.device), merged.mT)
