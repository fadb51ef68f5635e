"""Exact selection by magnitude and election of signs, shared by the trimming methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from mergeometry.deferred import Float, NDArray, Tensor, np, torch
from mergeometry.linalg.backend import entries_together, in_main_memory
from mergeometry.linalg.order import LargestMagnitudes, integers_of

_FEW = 1 << 15
"""Entries that are sorted sooner than their magnitudes are counted."""

_RARE = 64
"""Entries for each one that is kept, from which the kept ones are merged by themselves."""

_PIECE = 32
"""Entries whose largest magnitude is one of a list, half as long as ``_RARE`` has it, that bounds what is kept."""

_BLOCK = 1 << 16
"""Entries voted on at a time: what one block needs from all tasks stays in the processor's cache."""


def share_of(size: int, share: float) -> int:
    """How many of ``size`` entries a share keeps: rounded down, at least one.

    A share is a decimal fraction: 0.29 of 100 is 29, although the binary product falls just short of it.
    """
    return max(1, math.floor(size * share * (1 + 1e-12)))


def magnitude_threshold(values: Float[Tensor, "*shape"], count: int) -> float:
    """Magnitude of the ``count``-th largest entry, exactly; 0 where there are no more entries than that."""
    if count >= values.numel():
        return 0.0
    return _largest(values, [count])[0]


def tails(size: int, density: float, gamma: float) -> tuple[int, int] | None:
    """How many entries are at least as large as the smallest and as the largest of those kept; None if all are kept.

    Left out are the share ``gamma`` of entries of largest magnitude, then the smallest until the share ``density`` is
    left. Where both shares together exceed one, fewer of the largest are left out.

    Source: Model breadcrumbs (arXiv 2312.06795) section 3.
    """
    kept = share_of(size, density)
    if kept >= size:
        return None
    outliers = min(math.floor(size * gamma * (1 + 1e-12)), size - kept)
    return outliers + kept, outliers + 1


def without_tails(values: Float[Tensor, "*shape"], density: float, gamma: float) -> Float[Tensor, "*shape"]:
    """Zero the largest and the smallest entries, as `tails` counts them; entries that tie with those kept are kept."""
    counts = tails(values.numel(), density, gamma)
    if counts is None:
        return values
    flat = values.reshape(-1)
    least, largest = _largest(flat, counts)
    return between(flat, least, largest, torch.empty_like(flat)).reshape(values.shape)


def between(
    values: Float[Tensor, " count"], least: float, largest: float, out: Float[Tensor, " count"]
) -> Float[Tensor, " count"]:
    """Zero the entries whose magnitude lies outside these bounds, which belong to the inside."""
    if not in_main_memory(values):
        outside = (torch.abs(values, out=out) < least) | (out > largest)
        return out.copy_(values).masked_fill_(outside, 0)
    magnitudes = torch.abs(values, out=out).numpy()
    inside = (magnitudes >= least) & (magnitudes <= largest)
    out.copy_(values)
    return masked(out, inside)


def masked(values: Float[Tensor, " count"], kept: NDArray[np.bool_]) -> Float[Tensor, " count"]:
    """Zero, in place, what is not kept.

    The bits are multiplied, as integers: a fraction of what a choice by booleans takes, and infinities leave no NaN.
    """
    if not in_main_memory(values):
        return values.masked_fill_(~torch.from_numpy(kept).to(values.device), 0)
    bits = values.view(integers_of(values.itemsize)).numpy()
    np.multiply(bits, kept, out=bits)
    return values


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
    if _few_stay(tasks, count):
        return _of_few(tasks, count, weights, rounding)
    thresholds = [magnitude_threshold(task, count) * (1 - rounding) for task in tasks]
    flat = [task.reshape(-1) for task in tasks]
    merged, vote = torch.empty_like(flat[0]), Vote(weights)
    step = entries_together(merged, _BLOCK)
    for first in range(0, merged.numel(), step):
        block = slice(first, first + step)
        kept = [_trimmed(task[block], threshold) for task, threshold in zip(flat, thresholds, strict=True)]
        merged[block] = vote(kept)
    return merged.reshape(tasks[0].shape)


def _few_stay(tasks: Sequence[Float[Tensor, "*shape"]], count: int) -> bool:
    """Whether what stays is so little that it is found and merged sooner by itself."""
    entries = tasks[0].numel()
    return in_main_memory(tasks[0]) and entries <= _FEW and _RARE * count < entries


def _of_few(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float], rounding: float
) -> Float[Tensor, "*shape"]:
    """`elected_mean`, entry for entry, of the places alone where some task keeps its entry: zero elsewhere."""
    stacked = torch.stack([task.reshape(-1) for task in tasks])
    pieces = stacked[:, : stacked.shape[1] // _PIECE * _PIECE].unflatten(1, (-1, _PIECE))
    # So many pieces hold an entry of this size that no smaller one, but for rounding, can be among those kept.
    peaks = torch.maximum(pieces.amax(dim=2), -pieces.amin(dim=2))
    bound = peaks.topk(count, dim=1).values[:, -1:] * (1 - rounding - 1e-3)
    found, candidates = torch.nonzero((stacked >= bound) | (stacked <= -bound), as_tuple=True)
    magnitudes = stacked[found, candidates].abs()
    largest = [part.topk(count).values[-1:] for part in magnitudes.split(found.bincount(minlength=len(tasks)).tolist())]
    # As they would be compared one task at a time: thresholds rounded to the entries' dtype.
    smallest = (torch.stack(largest).double() * (1 - rounding)).to(stacked.dtype)
    places = candidates[magnitudes >= smallest[found, 0]].unique()
    sparse = stacked[:, places]
    chosen = torch.where(sparse.abs() >= smallest, sparse, 0.0)
    merged = torch.zeros_like(stacked[0])
    merged[places] = Vote(weights)(list(chosen))
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
    return shrunk(values, next_below(threshold, values.dtype), torch.empty_like(values))


def shrunk(values: Float[Tensor, "*shape"], bound: float, out: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Zero what is at most ``bound``: one vector instruction, where a mask takes eighteen times as long."""
    return torch.ops.aten.hardshrink.out(values, bound, out=out)


@lru_cache(maxsize=256)  # asked for again for every piece of every task vector
def next_below(threshold: float, dtype: torch.dtype) -> float:
    """The next number below a threshold: as a bound it keeps the entries that equal the threshold."""
    return float(torch.nextafter(torch.tensor(threshold, dtype=dtype), torch.tensor(-1.0, dtype=dtype)))


def _largest(values: Float[Tensor, "*shape"], counts: Sequence[int]) -> list[float]:
    if values.numel() <= _FEW and in_main_memory(values):
        ordered = np.sort(values.detach().reshape(-1).abs().numpy())
        return [float(ordered[len(ordered) - count]) for count in counts]
    search = LargestMagnitudes(counts)
    while search.unfinished:
        for piece in values.reshape(-1).split(entries_together(values, _BLOCK)):
            search.add(piece)
        search.end_pass()
    return search.magnitudes


class Vote:
    """Elects a sign for each entry and averages the tasks that have it; what it returns is valid until its next call.

    Source: TIES-merging (arXiv 2306.01708) section 3.2.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights
        self._scratch = torch.empty(0)

    def __call__(self, kept: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, " n"]:
        """Merge some entries of the trimmed tasks."""
        if self._scratch.shape[-1] != len(kept[0]) or self._scratch.dtype is not kept[0].dtype:
            self._scratch = torch.empty(4, len(kept[0]), dtype=kept[0].dtype, device=kept[0].device)
        sign, agreeing, total, share = self._scratch
        sign.zero_()
        for values, weight in zip(kept, self._weights, strict=True):
            sign.add_(values, alpha=weight)
        sign.sign_()
        total.zero_()
        share.zero_()
        for values, weight in zip(kept, self._weights, strict=True):
            torch.mul(values, sign, out=agreeing).clamp_(min=0)
            total.add_(agreeing, alpha=weight)
            share.add_(agreeing.sign_(), alpha=weight)
        return total.mul_(sign).div_(share.clamp_(min=torch.finfo(share.dtype).tiny))
