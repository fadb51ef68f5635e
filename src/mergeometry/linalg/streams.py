"""Random choices that depend on nothing but their purpose: one stream of numbers per tensor and task."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

from mergeometry.deferred import Float, NDArray, Tensor, np, torch
from mergeometry.linalg.selection import masked

_BLOCK = 1 << 18
"""Entries drawn for at a time: their numbers stay in the processor's cache."""

_ROWS = 1 << 17
"""Entries of the rows that are ranked at a time."""

_LEVELS = 1 << 32
"""Number of values that a drawn number can take, all equally likely."""


def stream_key(seed: int, tensor: str, task: str) -> int:
    """Key of the stream that belongs to one task's update of one tensor, under a recipe's seed."""
    digest = hashlib.sha256(json.dumps([seed, tensor, task]).encode()).digest()
    return int.from_bytes(digest[:16], "little")


def random_unit(size: int, key: int) -> Float[Tensor, " size"]:
    """A uniformly random unit vector, float64, from the stream of a key."""
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(size)
    return torch.from_numpy(drawn / np.linalg.norm(drawn))


def dropped(
    values: Float[Tensor, "*shape"], key: int, density: float, *, rescale: bool = True
) -> Float[Tensor, "*shape"]:
    """Keep each entry with probability ``density`` and, to ``rescale``, divide it by that; the others become zero.

    The stream is Philox, counted from the first entry: its numbers do not depend on dtype, threads, or what was
    drawn before, and NumPy guarantees the raw ones across versions.

    Source: DARE (arXiv 2311.03099) section 3.2, with drop rate ``p = 1 - density``.
    """
    flat, drop = values.reshape(-1), Drop(key, density, rescale=rescale)
    kept = torch.empty_like(flat)
    for part, out in zip(flat.split(_BLOCK), kept.split(_BLOCK), strict=True):
        drop(part, out)
    return kept.reshape(values.shape)


class Drop:
    """The same for entries that come a piece at a time: an even number in every piece but the last."""

    def __init__(self, key: int, density: float, *, rescale: bool = True) -> None:
        self._numbers, self._density, self._rescale = np.random.Philox(key=key), density, rescale
        self._bound = np.uint32(min(round(density * _LEVELS), _LEVELS - 1))

    def __call__(self, values: Float[Tensor, " count"], out: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        """Drop from the next entries, into ``out``."""
        torch.div(values, self._density if self._rescale else 1.0, out=out)
        if self._density < 1:
            masked(out, _next(self._numbers, values.numel()) < self._bound)
        return out


def dropped_by_rank(
    values: Float[Tensor, "*shape"], key: int, density: float, epsilon: float, *, rescale: bool = True
) -> Float[Tensor, "*shape"]:
    """Keep an entry with a probability that grows with its rank in its row and, to ``rescale``, divide it by that.

    The probability rises evenly from ``density - epsilon`` for the entry of least magnitude to ``density + epsilon``
    for the largest; of equal entries the earlier ranks lower. A row is all that leads to one output: a tensor of fewer
    than two dimensions is one row, and a row of one entry has probability ``density``.

    Source: DELLA (arXiv 2406.11617) section 3.1, with drop rates ``p_i`` one minus the probability.
    """
    if values.numel() == 0 or density >= 1:
        return values
    flat, drop = values.reshape(-1), RankedDrop(key, density, epsilon, row_width(values.shape), rescale=rescale)
    kept = torch.empty_like(flat)
    for part, out in zip(flat.split(drop.step), kept.split(drop.step), strict=True):
        drop(part, out)
    return kept.reshape(values.shape)


def row_width(shape: Sequence[int]) -> int:
    """How many entries lead to one output; a tensor of fewer than two dimensions is one row."""
    return math.prod(shape[1:] if len(shape) > 1 else shape)


class RankedDrop:
    """The same for rows that come a few at a time: ``step`` is the number of entries of as many as are taken well."""

    def __init__(self, key: int, density: float, epsilon: float, width: int, *, rescale: bool = True) -> None:
        self._numbers, self._left = np.random.Philox(key=key), np.empty(0, dtype=np.uint32)
        self._width, self._drops, self._rescale = width, density < 1, rescale
        self._rising = torch.linspace(density - epsilon, density + epsilon, width)
        if width == 1:
            self._rising = torch.tensor([density])
        self.step = max(1, _ROWS // max(1, width)) * max(1, width)

    def __call__(self, values: Float[Tensor, " count"], out: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        """Drop from the next rows, into ``out``."""
        if not self._drops:
            return out.copy_(values)
        order = values.view(-1, self._width).abs().argsort(dim=1, stable=True)
        rising = self._rising.to(values.device)  # made on the CPU, for the same bits on any device
        chances = rising.new_empty(order.shape).scatter_(1, order, rising.expand(order.shape)).reshape(-1).double()
        drawn = torch.from_numpy(self._drawn(len(values)).astype(np.int64)).to(values.device)
        chosen = drawn < (chances * _LEVELS).round()
        return out.copy_(torch.where(chosen, values / chances if self._rescale else values, 0))

    def _drawn(self, count: int) -> NDArray[np.uint32]:
        """The next numbers of the stream; of the two that are drawn at a time, one may be left for the next call."""
        missing = count - len(self._left)
        drawn = self._numbers.random_raw((missing + 1) // 2).astype("<u8", copy=False).view("<u4")
        numbers = np.concatenate([self._left, drawn])
        self._left = numbers[count:]
        return numbers[:count]


def check_chances(density: float, epsilon: float) -> None:
    """Refuse probabilities of `dropped_by_rank` outside 0 to 1; at density 1 nothing is dropped.

    Raises:
        ValueError: some are; the message fits after "tensor X: ".
    """
    if density < 1 and not 0 < density - epsilon <= density + epsilon <= 1:
        raise ValueError(
            f"density {density:g} and epsilon {epsilon:g} give probabilities from {density - epsilon:g} to "
            f"{density + epsilon:g}: epsilon must be smaller than density, and at most 1 - density"
        )


def _next(numbers: np.random.Philox, size: int) -> NDArray[np.uint32]:
    """The next numbers of a stream; after an odd number of them, one is left out."""
    return numbers.random_raw((size + 1) // 2).astype("<u8", copy=False).view("<u4")[:size]
