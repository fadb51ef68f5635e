"""Iso-CTS: a common subspace and a subspace for each task, with one flat spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import torch
from mergeometry.linalg.polar import polar
from mergeometry.linalg.svd import RANK_TOLERANCE, top_directions
from mergeometry.linalg.whitening import remove_left
from mergeometry.methods.base import Rank, Sizes, Spectral, Work, parameters, rank_of
from mergeometry.values import Delta, LowRank, sum_of


@parameters
class IsoCTS(Spectral):
    """Keep the leading directions of the sum, and fill the rest of the rank with directions of each single task.

    Law: ``P_c``, ``Q_c`` the top-c directions of ``sum_t tau_t``; ``P_t``, ``Q_t`` the top-s ones of
    ``(I - P_c P_c^T) tau_t``; ``tau = mean(D) polar([P_1 ... P_T | P_c]) polar([Q_1 ... Q_T | Q_c])^T``,
    ``D`` all the singular values taken. ``c + T s`` is the total rank: ``T s`` is the part that is not
    common, rounded to a multiple of T.
    """

    source: ClassVar[str] = "Marczak et al. 2025, No task left behind, arXiv 2502.04959, section 4.3"

    common: Annotated[float, Field(ge=0, le=1, description="share of the rank that the common subspace takes")] = 0.8
    rank: Rank = "auto"

    @property
    def equal_models(self) -> Literal["sum"] | None:
        """It is `iso_c` where all is common; else the rank of each part depends on N."""
        return "sum" if self.common == 1 else None

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse a total rank that the matrix cannot have."""
        super().check(tasks, shape, weights)
        if isinstance(self.rank, int) and self.rank > min(shape):
            raise ValueError(f"rank {self.rank} is out of range: a {shape[0]} x {shape[1]} matrix has at most "
                             f"{min(shape)}; a fraction such as 0.5 fits every tensor")  # fmt: skip

    def cost(self, sizes: Sizes) -> Work:
        """The parts' directions side by side."""
        return self.side_by_side(sizes)

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Split the rank, take the common part, then each task's own, whiten them together."""
        total = sum_of(deltas)
        held = min(total.rank, *total.shape) if isinstance(total, LowRank) else min(total.shape)
        # `auto` means the full rank here: the tasks share it instead of each having a part.
        rank = min(rank_of(self.rank, total.shape, 1, held), held)
        per_task = min(round((rank - int(rank * self.common)) / len(deltas)), rank // len(deltas))
        common = top_directions(total, max(0, rank - per_task * len(deltas)))
        parts = [top_directions(remove_left(delta, common.left), per_task) for delta in deltas]
        if common.count:
            # What is left of a task vector inside the common subspace is rounding, and must not be whitened.
            floor = RANK_TOLERANCE * common.values[0]
            parts = [part.leading(int((part.values > floor).sum())) for part in parts]
        left, _ = polar(torch.cat([part.left for part in [*parts, common]], dim=1))
        right, _ = polar(torch.cat([part.right for part in [*parts, common]], dim=1))
        values = torch.cat([part.values for part in [*parts, common]])
        flat = values.mean() if len(values) else values.new_zeros(())
        return LowRank(left, torch.eye(len(values), dtype=values.dtype, device=values.device) * flat, right)
