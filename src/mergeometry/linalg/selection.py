"""Exact selection by magnitude and election of signs, shared by the trimming methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 1 << 16
"""Entries voted on at a time: what one block needs from all tasks stays in the processor's cache."""


def share_of(size: int, share: float) -> int:
    """How many of ``size`` entries a share keeps: rounded down, at least one.

    A share is a decimal fraction: 0.29 of 100 is 29, although the binary product falls just short of it.
    """
    return max(1, math.floor(size * share * (1 + 1e-12)))


def magnitude_threshold(values: Float[Tensor, "*shape"], count: int) -> float:
    """Magnitude of the ``count``-th largest entry, exactly; partition takes linear time where a sort does not."""
    magnitudes = values.abs().flatten().numpy()
    if count >= magnitudes.size:
        return 0.0
    magnitudes.partition(magnitudes.size - count)
    return float(magnitudes[magnitudes.size - count])


def without_tails(values: Float[Tensor, "*shape"], density: float, gamma: float) -> Float[Tensor, "*shape"]:
    """Zero the share ``gamma`` of entries of largest magnitude, then the smallest until the share ``density`` is left.

    Where both shares together exceed one, fewer of the largest are zeroed. All entries that tie with the first or the
    last of those kept are kept.

    Source: Model breadcrumbs (arXiv 2312.06795) section 3.
    """
    size = values.numel()
    kept = share_of(size, density)
    if kept >= size:
        return values
    largest = size - min(math.floor(size * gamma * (1 + 1e-12)), size - kept) - 1
    magnitudes = values.abs().flatten().numpy()
    magnitudes.partition([largest - kept + 1, largest])
    bounds = float(magnitudes[largest - kept + 1]), float(magnitudes[largest])
    magnitudes = values.abs()
    return torch.where((magnitudes >= bounds[0]) & (magnitudes <= bounds[1]), values, 0)


def trimmed(values: Float[Tensor, "*shape"], density: float) -> Float[Tensor, "*shape"]:
    """Zero all but the share ``density`` of largest magnitude; all entries that tie with the smallest kept are kept."""
    if values.numel() == 0:
        return values
    return _trimmed(values, magnitude_threshold(values, share_of(values.numel(), density)))


def with_magnitudes_of(kept: Float[Tensor, "*shape"], values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``kept`` times one number, which makes the sum of its magnitudes that of ``values``; unchanged where it is zero.

    Source: MergeKit (arXiv 2403.13257), its option ``rescale``.
    """
    before, after = (float(torch.linalg.vector_norm(each, 1, dtype=torch.float64)) for each in (values, kept))
    return kept * (before / after) if before and after else kept


def elected_mean(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float], rounding: float = 0.0
) -> Float[Tensor, "*shape"]:
    """Trim each task to its ``count`` largest entries, elect a sign entry by entry, average the tasks that have it.

    The sign is that of the weighted sum of what is left; where that sum is zero, so is the result. All
    entries that tie with the smallest one kept are kept, so that no order among equals matters;
    ``rounding`` is the relative difference below which computed entries count as tied.

    Source: TIES-merging (arXiv 2306.01708) section 3.2: trim, elect sign, disjoint merge.
    """
    thresholds = [magnitude_threshold(task, count) * (1 - rounding) for task in tasks]
    flat = [task.reshape(-1) for task in tasks]
    merged = torch.empty_like(flat[0])
    for first in range(0, merged.numel(), _BLOCK):
        block = slice(first, first + _BLOCK)
        kept = [_trimmed(task[block], threshold) for task, threshold in zip(flat, thresholds, strict=True)]
        merged[block] = _vote(kept, weights)
    return merged.reshape(tasks[0].shape)


def elected_parts(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float]
) -> list[Float[Tensor, "*shape"]]:
    """Each task's trimmed entries that have the elected sign, zero elsewhere: what `elected_mean` averages.

    Source: TIES-merging (arXiv 2306.01708) section 3.2; AdaMerging (arXiv 2310.02575) section 3.2 for its plus form.
    """
    kept = [_trimmed(task, magnitude_threshold(task, count)) for task in tasks]
    sign = torch.stack([values * weight for values, weight in zip(kept, weights, strict=True)]).sum(dim=0).sign()
    return [values * (values.sign() == sign) for values in kept]


def erase_minority(tasks: Sequence[Float[Tensor, "*shape"]]) -> None:
    """Zero, in place, what has not the sign of the sum; where that sum is zero, all.

    Source: TIES-merging (arXiv 2306.01708) section 3.2, its election alone.
    """
    sign = torch.zeros_like(tasks[0])
    for values in tasks:
        sign.add_(values)
    sign.sign_()
    for values in tasks:
        values.mul_(values.sign() == sign)


def agreeing(tasks: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> list[Float[Tensor, "*shape"]]:
    """Each task times its weight, zero where it has not the sign of their sum; where that sum is zero, all are.

    Weights may be negative: such a task votes against the signs of its entries.

    Source: TIES-merging (arXiv 2306.01708) section 3.2, its election alone.
    """
    parts = [values * weight for values, weight in zip(tasks, weights, strict=True)]
    erase_minority(parts)
    return parts


def total_of(parts: Sequence[Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """The sum of tensors, added in their order."""
    total = torch.zeros_like(parts[0])
    for part in parts:
        total.add_(part)
    return total


def elected_shares(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float]
) -> list[Float[Tensor, "*shape"]]:
    """What each task adds to `elected_mean`: its agreeing entries times its weight, over the weight of all that agree.

    Source: TIES-merging (arXiv 2306.01708) section 3.2.
    """
    agreeing = elected_parts(tasks, count, weights)
    shares = torch.stack([w * (part != 0).to(part.dtype) for part, w in zip(agreeing, weights, strict=True)]).sum(dim=0)
    shares.clamp_(min=torch.finfo(shares.dtype).tiny)
    return [part * w / shares for part, w in zip(agreeing, weights, strict=True)]


def _trimmed(values: Float[Tensor, "*shape"], threshold: float) -> Float[Tensor, "*shape"]:
    # Hard shrinkage zeroes |x| <= bound, one vector instruction where a mask takes eighteen times as long;
    # the next number below the threshold as the bound keeps the entries that equal it.
    bound = torch.nextafter(torch.tensor(threshold, dtype=values.dtype), torch.tensor(-1.0, dtype=values.dtype))
    return torch.nn.functional.hardshrink(values, float(bound))


def _vote(kept: Sequence[Float[Tensor, " n"]], weights: Sequence[float]) -> Float[Tensor, " n"]:
    sign = torch.zeros_like(kept[0])
    for values, weight in zip(kept, weights, strict=True):
        sign.add_(values, alpha=weight)
    sign.sign_()
    total, share = torch.zeros_like(sign), torch.zeros_like(sign)
    for values, weight in zip(kept, weights, strict=True):
        agreeing = (values * sign).clamp_(min=0)
        total.add_(agreeing, alpha=weight)
        share.add_(agreeing.sign_(), alpha=weight)
    return total.mul_(sign).div_(share.clamp_(min=torch.finfo(share.dtype).tiny))
