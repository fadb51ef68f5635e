"""What became of one task in a merged task vector."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.span import left_coordinates
from mergeometry.values import Delta, Directions

ENERGY = 0.95
"""Share of the merged matrix's energy that its top subspace holds."""


def subspace_alignment(merged: Directions, delta: Delta, norm: float) -> float:
    """``||P tau_t||_F / ||tau_t||_F``, P the projector on the span of the merged matrix's left directions; 0 to 1.

    ``merged`` are the top directions that hold `ENERGY` of it (`Spectrum.holding`), ``norm`` is ``||tau_t||_F``.

    Source: Marczak et al. 2025, No task left behind, arXiv 2502.04959, equation 4.
    """
    if not norm > 0:
        return 0.0
    return float(left_coordinates(merged.left, delta).norm()) / norm


def directional_consistency(directions: Directions, merged: Float[Tensor, "m k"]) -> float:
    """Mean over a task's left directions of the largest cosine with a merged one, weighted by ``s_i``; 0 to 1.

    Source: DC-Merge, arXiv 2603.06242, section 3.
    """
    if not directions.count or not merged.shape[1]:
        return 0.0
    best = (directions.left.mT @ merged).abs().amax(dim=1)
    return float((directions.values * best).sum() / directions.values.sum())


def share_held(along: float, norm: float) -> float:
    """``<tau, tau_t> / ||tau_t||_F^2``: how much of a task vector is in the merged one; 1 if all."""
    return along / norm**2 if norm > 0 else 0.0
