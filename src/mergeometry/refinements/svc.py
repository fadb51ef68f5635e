"""SVC: the strength of what tasks share, counted once instead of once per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import torch
from mergeometry.linalg.responses import resolve_equal_values, shares_held
from mergeometry.linalg.svd import top_directions
from mergeometry.methods.base import parameters
from mergeometry.refinements.base import Refinement, same_shape
from mergeometry.values import Delta, Directions, LowRank


@parameters
class SVC(Refinement):
    """Rescale each singular value of the merged matrix by how much of every task's response it already holds.

    Law: ``tau = sum_r sigma_r u_r v_r^T``; the response of a task is ``a_r^t = u_r^T tau_t``, its share
    ``s_r^t = <sigma_r v_r, a_r^t> / ||a_r^t||^2``, and ``tau' = sum_r gamma_r sigma_r u_r v_r^T`` with
    ``gamma_r = T / sum_t max(alpha, s_r^t)``. A share above one means that the response was counted more than once. The
    directions stay; tasks that did not change the matrix are left out, and one with no response along ``u_r`` has the
    share zero. Equal singular values leave ``u_r`` open: it is then an eigenvector of ``sum_t tau_t tau_t^T``.
    """

    source: ClassVar[str] = "Li et al. 2026, When shared knowledge hurts, arXiv 2602.05536, Algorithm 1"

    alpha: Annotated[
        Annotated[float, Field(gt=0)] | Literal["auto"],
        Field(
            description="least share that a task is taken to have; auto is one over the number of tasks that take part"
        ),
    ] = "auto"

    def apply(self, merged: Delta, deltas: Sequence[Delta]) -> Delta:
        """Decompose the merged matrix, compare each task with it, and recompose it with new singular values."""
        directions = resolve_equal_values(_all_directions(merged), deltas)
        shares = shares_held(directions, (same_shape(delta, merged) for delta in deltas))
        if not len(shares):
            return merged
        alpha = 1 / len(shares) if self.alpha == "auto" else self.alpha
        values = directions.values / shares.clamp(min=alpha).mean(dim=0)
        if isinstance(merged, LowRank):
            return LowRank(directions.left, torch.diag(values), directions.right)
        return ((directions.left * values) @ directions.right.mT).to(merged.dtype)

    def cost(self, shape: Sequence[int], tasks: int, rank: int | None = None) -> tuple[float, int]:
        """A full decomposition, and each task's responses one after another; of thin factors, that of their core."""
        long, short = max(shape), min(shape)
        if rank is not None and rank < short:
            # The factors in float64, their orthonormal bases and what LAPACK takes of them, and the directions.
            return 12.0 * (long + short) * rank**2 * (tasks + 1) + 30.0 * rank**3, 40 * (long + short) * rank
        flops = 2.0 * long * short**2 + 18.0 * short**3 + 6.0 * long * short**2 * (tasks + 1)
        return flops, 40 * long * short + 56 * short**2


def _all_directions(merged: Delta) -> Directions:
    """Every singular triplet of the merged matrix; factors as wide as the matrix are multiplied out first."""
    shorter = min(merged.shape)
    if isinstance(merged, LowRank) and merged.rank >= shorter:
        merged = merged.dense(torch.float64)
    return top_directions(merged, merged.rank if isinstance(merged, LowRank) else shorter)
