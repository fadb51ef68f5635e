"""How much of each task's response along a merged matrix's directions the merged matrix holds (SVC)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.span import left_coordinates
from mergeometry.linalg.svd import RANK_TOLERANCE, gram, symmetric_eigen
from mergeometry.values import Delta, Directions, LowRank

_EQUAL = 1e-6
"""Relative difference below which neighbouring singular values of a float32 merge count as equal."""


def shares_held(directions: Directions, deltas: Iterable[Delta]) -> Float[Tensor, "tasks k"]:
    """``s_r^t = <sigma_r v_r, a_r^t> / ||a_r^t||^2`` with ``a_r^t = u_r^T tau_t``, for every task and direction.

    A share above one means that the task's response is there more than once. Tasks that did not change the matrix have
    no row; a task without a response along ``u_r`` has the share zero.

    Source: Li et al. 2026, When shared knowledge hurts, arXiv 2602.05536, Algorithm 1.
    """
    responses = [_response(directions, delta) for delta in deltas]
    taking_part = [(inner, energy) for inner, energy in responses if bool(energy.any())]
    if not taking_part:
        return directions.values.new_zeros(0, directions.count)
    inner = torch.stack([inner for inner, _ in taking_part])
    energy = torch.stack([energy for _, energy in taking_part])
    # Along a direction that a task lacks, its response is rounding error, which gives no share.
    responds = energy > RANK_TOLERANCE**2 * energy.amax(dim=0, keepdim=True)
    return torch.where(responds, inner / energy.where(responds, torch.ones_like(energy)), 0.0)


def resolve_equal_values(directions: Directions, deltas: Sequence[Delta]) -> Directions:
    """The same directions, made unique where singular values are equal, as all are after `iso_c`.

    Any rotation of these directions gives the same matrix, and LAPACK's choice among them depends on rounding.
    Equal singular values leave ``u_r`` open: it is then an eigenvector of ``sum_t tau_t tau_t^T``.
    """
    values = directions.values
    gaps = (values[:-1] - values[1:]) > _EQUAL * values[:-1]
    edges = [0, *(int(place) + 1 for place in gaps.nonzero()), len(values)]
    runs = [slice(first, last) for first, last in pairwise(edges) if last - first > 1]
    if not runs:
        return directions
    energies = [values.new_zeros(run.stop - run.start, run.stop - run.start) for run in runs]
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
