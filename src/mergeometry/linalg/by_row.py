"""Inner products and factors of the rows of task vectors, dense or low-rank."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.backend import entries_together
from mergeometry.values import Delta, LowRank

_ENTRIES = 1 << 17
"""Entries held in float64 at a time."""


def inner_by_row(one: Delta, other: Delta) -> Float[Tensor, " rows"]:
    """Inner products of corresponding rows; a tensor of fewer than two dimensions is one row."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        between = one.core.double() @ (one.right.double().mT @ other.right.double()) @ other.core.double().mT
        return (one.left.double() @ between * other.left.double()).sum(dim=1)
    assert isinstance(one, Tensor) and isinstance(other, Tensor)
    first, second = (delta.flatten(1) if delta.dim() > 1 else delta.reshape(1, -1) for delta in (one, other))
    rows = max(1, entries_together(first, _ENTRIES) // max(1, first.shape[1]))
    pairs = zip(first.split(rows), second.split(rows), strict=True)
    return torch.cat([(block.double() * along.double()).sum(dim=1) for block, along in pairs])


def rows_together(width: int) -> int:
    """How many rows of this width are multiplied at a time."""
    return max(1, _ENTRIES // max(1, width))


def scaled_by_row(delta: Delta, factors: Float[Tensor, " rows"]) -> Delta:
    """Each row times its factor; a single factor is that of all rows."""
    if isinstance(delta, LowRank):
        return LowRank((delta.left * factors[:, None]).to(delta.left.dtype), delta.core, delta.right)
    factors = factors.to(delta.dtype)
    return delta * (factors.view(-1, *[1] * (delta.dim() - 1)) if delta.dim() else factors[0])
