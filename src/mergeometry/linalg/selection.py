"""Exact selection by magnitude and election of signs, shared by the trimming methods."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def magnitude_threshold(values: Float[Tensor, "*shape"], count: int) -> float:
    """Magnitude of the ``count``-th largest entry, exactly; partition is linear where a sort is not."""
    magnitudes = values.abs().flatten().numpy()
    if count >= magnitudes.size:
        return 0.0
    magnitudes.partition(magnitudes.size - count)
    return float(magnitudes[magnitudes.size - count])


def keep_largest(values: Float[Tensor, "*shape"], count: int) -> Float[Tensor, "*shape"]:
    """Zero all but the ``count`` entries of largest magnitude; all entries that tie with the smallest kept stay.

    Every input bit for bit decides, so the result does not depend on an order among equals.
    """
    threshold = magnitude_threshold(values, count)
    return torch.where(values.abs() >= threshold, values, 0.0)


def elected_mean(
    kept: list[Float[Tensor, "*shape"]], weights: list[float] | None = None
) -> Float[Tensor, "*shape"]:
    """Weighted mean, entry by entry, over the tasks whose entry has the sign of the weighted sum; zero where that is.

    Source: TIES-merging (arXiv 2306.01708) section 3.2, steps elect and disjoint mean.
    """
    weights = [1.0] * len(kept) if weights is None else weights
    total = torch.zeros_like(kept[0])
    for values, weight in zip(kept, weights, strict=True):
        total.add_(values, alpha=weight)
    sign = total.sign_()
    mean, share = torch.zeros_like(sign), torch.zeros_like(sign)
    for values, weight in zip(kept, weights, strict=True):
        agrees = (values * sign) > 0
        mean.add_(values * agrees, alpha=weight)
        share.add_(agrees, alpha=weight)
    return mean.div_(share.clamp_(min=np.finfo(np.float32).tiny))


def partition_count(size: int, share: float) -> int:
    """How many of ``size`` entries a share keeps: rounded down, at least one."""
    return max(1, int(size * share))
