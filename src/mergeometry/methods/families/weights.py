"""Models' weights: as shares of a mean, as votes, and as factors of task vectors."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.values import Delta, LowRank


def check_votes(name: str, weights: Sequence[float]) -> None:
    """Refuse weights by which what agrees with an elected sign has no mean.

    Raises:
        ValueError: one is negative, or all are zero; the message fits after "tensor X: ".
    """
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError(
            f"{name} averages by weighted vote: weights must not be negative, nor all zero "
            "(with `normalize: false` it adds, for any weights)"
        )


def check_shares(weights: Sequence[float]) -> None:
    """Refuse weights that are not the shares of a mean.

    Raises:
        ValueError: one is negative, or all are zero; the message fits after "tensor X: ".
    """
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError("weights are shares of a mean: they must not be negative, nor all zero")


def shares(weights: Sequence[float], *, normalize: bool) -> list[float]:
    """The weights, or their shares of their sum."""
    total = sum(weights) if normalize else 1.0
    return [weight / total for weight in weights]


def dense_deltas(deltas: Sequence[Delta]) -> list[Float[Tensor, "*shape"]]:
    """Task vectors as plain tensors: low-rank ones are multiplied out, in the others' dtype."""
    dtype = next((delta.dtype for delta in deltas if isinstance(delta, Tensor)), torch.float32)
    return [delta.dense(dtype) if isinstance(delta, LowRank) else delta for delta in deltas]


def weighed(delta: Delta, weight: float) -> Delta:
    """A task vector times its model's weight; unchanged where the weight is one."""
    if weight == 1.0:
        return delta
    return delta.scaled(weight) if isinstance(delta, LowRank) else delta * weight
