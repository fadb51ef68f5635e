"""Election of signs: what tasks agree on, entry by entry, shared by the methods that elect."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Int, Tensor, np, torch
from mergeometry.linalg.backend import entries_together, in_main_memory
from mergeometry.linalg.selection import AT_ONCE, BLOCK, at_least, magnitude_threshold

_RARE = 64
"""Entries for each one that is kept, from which the kept ones are merged by themselves."""

_PIECE = 32
"""Entries whose largest magnitude is one of a list, half as long as ``_RARE`` has it, that bounds what is kept."""


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
    step = entries_together(merged, BLOCK)
    for first in range(0, merged.numel(), step):
        block = slice(first, first + step)
        kept = [at_least(task[block], threshold) for task, threshold in zip(flat, thresholds, strict=True)]
        merged[block] = vote(kept)
    return merged.reshape(tasks[0].shape)


def _few_stay(tasks: Sequence[Float[Tensor, "*shape"]], count: int) -> bool:
    """Whether what stays is so little that it is found and merged sooner by itself."""
    entries = tasks[0].numel()
    return in_main_memory(tasks[0]) and entries <= AT_ONCE and _RARE * count < entries


def _of_few(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float], rounding: float
) -> Float[Tensor, "*shape"]:
    """`elected_mean`, entry for entry, of the places alone where some task keeps its entry: zero elsewhere."""
    flat = [task.reshape(-1) for task in tasks]
    scratch = torch.empty_like(flat[0])
    smallest, kept = zip(*(_few_kept(task, count, rounding, scratch) for task in flat), strict=True)
    places = torch.cat(kept).unique()
    sparse = torch.stack([task[places] for task in flat])
    chosen = torch.where(sparse.abs() >= torch.stack(smallest), sparse, 0.0)
    merged = torch.zeros_like(flat[0])
    merged[places] = Vote(weights)(list(chosen))
    return merged.reshape(tasks[0].shape)


def _few_kept(
    task: Float[Tensor, " size"], count: int, rounding: float, scratch: Float[Tensor, " size"]
) -> tuple[Float[Tensor, " 1"], Int[Tensor, " kept"]]:
    """The smallest magnitude that stays, and the places of the entries that do."""
    magnitudes = torch.abs(task, out=scratch)
    # So many pieces hold an entry of this size that no smaller one, but for rounding, can be among those kept.
    peaks = magnitudes[: len(task) // _PIECE * _PIECE].unflatten(0, (_PIECE, -1)).amax(dim=0)
    bound = peaks.topk(count).values[-1] * (1 - rounding - 1e-3)
    candidates = torch.from_numpy(np.flatnonzero((magnitudes >= bound).numpy()))
    large = magnitudes[candidates]
    # As it would be compared with all entries: the threshold rounded to the entries' dtype.
    smallest = (large.topk(count).values[-1:].double() * (1 - rounding)).to(task.dtype)
    return smallest, candidates[large >= smallest]


def elected_parts(
    tasks: Sequence[Float[Tensor, "*shape"]], count: int, weights: Sequence[float]
) -> list[Float[Tensor, "*shape"]]:
    """Each task's trimmed entries that have the elected sign, zero elsewhere: what `elected_mean` averages.

    Source: TIES-merging (arXiv 2306.01708) section 3.2; AdaMerging (arXiv 2310.02575) section 3.2 for its plus form.
    """
    kept = [at_least(task, magnitude_threshold(task, count)) for task in tasks]
    sign = torch.stack([values * weight for values, weight in zip(kept, weights, strict=True)]).sum(dim=0).sign()
    return [values * (values.sign() == sign) for values in kept]


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
