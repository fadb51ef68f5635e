"""How often a merged matrix counts what its tasks share."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.responses import shares_held
from mergeometry.values import Delta, Directions


def accumulation(merged: Directions, deltas: Sequence[Delta]) -> Float[Tensor, " k"]:
    """``mean_t max(1/T, s_r^t)`` for each merged direction, T the tasks that changed the matrix.

    Above 1 the merged matrix holds more along the direction than its tasks ask for on average; `svc` divides by it.
    The directions of equal singular values must be made unique first (`linalg.responses.resolve_equal_values`).

    Source: Li et al. 2026, When shared knowledge hurts, arXiv 2602.05536, Algorithm 1.
    """
    shares = shares_held(merged, deltas)
    if not len(shares):
        return torch.zeros(merged.count, dtype=torch.float64)
    return shares.clamp(min=1 / len(shares)).mean(dim=0)
