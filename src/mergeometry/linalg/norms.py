"""Sizes of task vectors."""

from __future__ import annotations

from mergeometry.deferred import torch
from mergeometry.values import Delta, LowRank


def frobenius(delta: Delta) -> float:
    """``||tau||_F`` in float64; for thin factors by their QR triangles, without forming the product."""
    if isinstance(delta, LowRank):
        _, left = torch.linalg.qr(delta.left.double())
        _, right = torch.linalg.qr(delta.right.double())
        return frobenius(left @ delta.core.double() @ right.mT)
    # Squares of very large or small entries would leave float64's range.
    size = float(delta.abs().max()) if delta.numel() else 0.0
    if size == 0.0 or size == float("inf"):
        return size
    return size * float(torch.linalg.vector_norm(delta / size, dtype=torch.float64))
