"""SVC: the strength of what tasks share, counted once instead of once per task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.span import left_coordinates
from mergeometry.linalg.svd import RANK_TOLERANCE, gram, symmetric_eigen, top_directions
from mergeometry.methods.base import parameters
from mergeometry.refinements.base import Refinement, same_shape
from mergeometry.values import Delta, Directions, LowRank

_EQUAL = 1e-6
"""Relative difference below which neighbouring singular values of a float32 merge count as equal."""


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
        directions = _made_unique(_all_directions(merged), deltas)
        responses = [_response(directions, same_shape(delta, merged)) for delta in deltas]
        taking_part = [(inner, energy) for inner, energy in responses if bool(energy.any())]
        if not taking_part:
            return merged
        inner = torch.stack([inner for inner, _ in taking_part])
        energy = torch.stack([energy for _, energy in taking_part])
        # Along a direction that a task lacks, its response is rounding error, which gives no share.
        responds = energy > RANK_TOLERANCE**2 * energy.amax(dim=0, keepdim=True)
        shares = torch.where(responds, inner / energy.where(responds, torch.ones_like(energy)), 0.0)
        alpha = 1 / len(taking_part) if self.alpha == "auto" else self.alpha
        values = directions.values / shares.clamp(min=alpha).mean(dim=0)
        if isinstance(merged, LowRank):
            return LowRank(directions.left, torch.diag(values), directions.right)
        return ((directions.left * values) @ directions.right.mT).to(merged.dtype)

    def cost(self, shape: Sequence[int], tasks: int) -> tuple[float, int]:
        """A full decomposition, and each task's responses one after another."""
        long, short = max(shape), min(shape)
        flops = 2.0 * long * short**2 + 18.0 * short**3 + 6.0 * long * short**2 * (tasks + 1)
        return flops, 40 * long * short + 56 * short**2


def _all_directions(merged: Delta) -> Directions:
    """Every singular triplet of the merged matrix; factors as wide as the matrix are multiplied out first."""
    shorter = min(merged.shape)
    if isinstance(merged, LowRank) and merged.rank >= shorter:
        merged = merged.dense(torch.float64)
    return top_directions(merged, merged.rank if isinstance(merged, LowRank) else shorter)


def _made_unique(directions: Directions, deltas: Sequence[Delta]) -> Directions:
    """The same directions, made unique where singular values are equal, as all are after `iso_c`.

    Any rotation of these directions gives the same matrix, and LAPACK's choice among them depends on rounding.
    """
    values = directions.values
    gaps = (values[:-1] - values[1:]) > _EQUAL * values[:-1]
    edges = [0, *(int(place) + 1 for place in gaps.nonzero()), len(values)]
    runs = [slice(first, last) for first, last in pairwise(edges) if last - first > 1]
    if not runs:
        return directions
    energies = [torch.zeros(run.stop - run.start, run.stop - run.start, dtype=torch.float64) for run in runs]
    for delta in deltas:
        for run, energy in zip(runs, energies, strict=True):
            energy.add_(gram(left_coordinates(directions.left[:, run], delta).mT))
    left, right = directions.left.clone(), directions.right.clone()
    for run, energy in zip(runs, energies, strict=True):
        _, turned = symmetric_eigen(energy, len(energy))
        left[:, run], right[:, run] = left[:, run] @ turned, right[:, run] @ turned
    return Directions(left, values, right)


def _response(directions: Directions, delta: Delta) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """``<sigma_r v_r, a_r>`` and ``||a_r||^2`` for every direction, where ``a_r = u_r^T tau_t``."""
    if isinstance(delta, LowRank):
        weights = directions.left.mT @ delta.left.double() @ delta.core.double()
        along = delta.right.double().mT @ directions.right
        _, triangle = torch.linalg.qr(delta.right.double())
        energy = (weights @ triangle.mT).square().sum(dim=1)
        return directions.values * (weights * along.mT).sum(dim=1), energy
    response = left_coordinates(directions.left, delta)
    return directions.values * (response * directions.right.mT).sum(dim=1), response.square().sum(dim=1)
