"""Exact selection by magnitude, shared by the trimming methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from mergeometry.deferred import Float, NDArray, Tensor, np, torch
from mergeometry.linalg.backend import entries_together, in_main_memory
from mergeometry.linalg.order import LargestMagnitudes, integers_of

FEW = 1 << 15
"""Entries that are sorted sooner than their magnitudes are counted."""

BLOCK = 1 << 16
"""Entries looked at together: what one block needs from all tasks stays in the processor's cache."""


AT_ONCE = 1 << 20
"""Entries whose magnitudes may lie in memory together."""

_PIECES = 32
"""Entries of which the largest bounds what a small count keeps, where there are twice as many for each one kept."""


def share_of(size: int, share: float) -> int:
    """How many of ``size`` entries a share keeps: rounded down, at least one.

    A share is a decimal fraction: 0.29 of 100 is 29, although the binary product falls just short of it.
    """
    return max(1, math.floor(size * share * (1 + 1e-12)))


def magnitude_threshold(values: Float[Tensor, "*shape"], count: int) -> float:
    """Magnitude of the ``count``-th largest entry, exactly; 0 where there are no more entries than that."""
    if count >= values.numel():
        return 0.0
    if FEW < values.numel() <= AT_ONCE and 2 * _PIECES * count <= values.numel() and in_main_memory(values):
        return _largest_of_peaks(values.detach().reshape(-1).abs(), count)
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
    return at_least(values, magnitude_threshold(values, share_of(values.numel(), density)))


def with_magnitudes_of(kept: Float[Tensor, "*shape"], values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``kept`` times one number, which makes the sum of its magnitudes that of ``values``; unchanged where it is zero.

    Source: MergeKit (arXiv 2403.13257), its option ``rescale``.
    """
    before, after = (float(torch.linalg.vector_norm(each, 1, dtype=torch.float64)) for each in (values, kept))
    return kept * (before / after) if before and after else kept


def at_least(values: Float[Tensor, "*shape"], threshold: float) -> Float[Tensor, "*shape"]:
    """Zero the entries whose magnitude is below a threshold."""
    return shrunk(values, next_below(threshold, values.dtype), torch.empty_like(values))


def shrunk(values: Float[Tensor, "*shape"], bound: float, out: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Zero what is at most ``bound``: one vector instruction, where a mask takes eighteen times as long."""
    return torch.ops.aten.hardshrink.out(values, bound, out=out)


@lru_cache(maxsize=256)  # asked for again for every piece of every task vector
def next_below(threshold: float, dtype: torch.dtype) -> float:
    """The next number below a threshold: as a bound it keeps the entries that equal the threshold."""
    return float(torch.nextafter(torch.tensor(threshold, dtype=dtype), torch.tensor(-1.0, dtype=dtype)))


def _largest_of_peaks(magnitudes: Float[Tensor, " size"], count: int) -> float:
    """The ``count``-th largest: not below the ``count``-th largest of the peaks of as many pieces, so among few."""
    width = len(magnitudes) // _PIECES
    peaks = magnitudes[: width * _PIECES].view(_PIECES, width).amax(dim=0)
    least = peaks.topk(count).values[-1]
    return float(magnitudes[magnitudes >= least].topk(count).values[-1])


def _largest(values: Float[Tensor, "*shape"], counts: Sequence[int]) -> list[float]:
    if values.numel() <= FEW and in_main_memory(values):
        ordered = np.sort(values.detach().reshape(-1).abs().numpy())
        return [float(ordered[len(ordered) - count]) for count in counts]
    search = LargestMagnitudes(counts)
    while search.unfinished:
        for piece in values.reshape(-1).split(entries_together(values, BLOCK)):
            search.add(piece)
        search.end_pass()
    return search.magnitudes
