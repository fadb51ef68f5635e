"""How far a merged task vector is from the simplex equiangular tight frames of MDA."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import torch
from mergeometry.linalg.etf import simplex_etf
from mergeometry.linalg.inner import inner
from mergeometry.linalg.polar import polar
from mergeometry.linalg.span import left_coordinates
from mergeometry.values import Delta, Directions


def deviation(merged: Delta, directions: Sequence[Directions]) -> float | None:
    """``Delta_ETF = ||G_hat - G_etf||_F / ||G_etf||_F``: how far the tasks' directions in an update are from a simplex.

    The direction of task t is ``U_t^T tau V_t`` laid flat; over the tasks these are brought to length 1, centred, and
    brought to length 1 again, so that a simplex has the Gram matrix ``T/(T-1) (I - 11^T/T)`` exactly. None where that
    is not defined: one task, tasks of different numbers of directions, or one that the update does not carry.

    Source: MDA, arXiv 2512.00391, section 4.1.
    """
    count = len(directions)
    if count < 2 or len({task.count for task in directions}) > 1 or not directions[0].count:
        return None
    carried = torch.stack([(left_coordinates(task.left, merged) @ task.right).flatten() for task in directions])
    lengths = carried.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        return None
    carried = carried / lengths
    carried = carried - carried.mean(dim=0)
    lengths = carried.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        return None
    carried = carried / lengths
    simplex = count / (count - 1) * (torch.eye(count, dtype=torch.float64) - 1 / count)
    return float((carried @ carried.mT - simplex).norm() / simplex.norm())


def residual(merged: Delta, directions: Sequence[Directions]) -> float | None:
    """``||(I - M M^+) tau||_F^2 / ||tau||_F^2``: share of an update outside the span of the frame of all directions.

    ``M = sqrt(K/(K-1)) P (I - 11^T/K)`` with ``P = polar([U_1 | ... | U_T])``. None where that is not defined: fewer
    than two directions, or a zero update.

    Source: MDA, arXiv 2512.00391, section 4.1.
    """
    whole = inner(merged, merged)
    if sum(task.count for task in directions) < 2 or not whole > 0:
        return None
    basis, values = polar(torch.cat([task.left for task in directions], dim=1))
    if len(values) == basis.shape[1]:
        # Of an orthonormal P the frame's range is that of P without the direction of P 1. The polar factor of
        # directions that are close to each other is orthonormal to 5e-6; a step of Newton and Schulz squares that.
        basis = 1.5 * basis - 0.5 * (basis @ (basis.mT @ basis))
        coordinates = left_coordinates(basis, merged)
        inside = float((coordinates - coordinates.mean(dim=0)).square().sum())
    else:
        # The polar factor leaves null directions out, so its columns span the frame's range and no more.
        inside = float(left_coordinates(polar(simplex_etf(basis))[0], merged).square().sum())
    return max(0.0, 1.0 - inside / whole)
