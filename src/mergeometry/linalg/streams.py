"""Random choices that depend on nothing but their purpose: one stream of numbers per tensor and task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from mergeometry.deferred import Float, NDArray, Tensor, np, torch
from mergeometry.linalg.selection import masked

_BLOCK = 1 << 18
"""Entries drawn for at a time: their numbers stay in the processor's cache."""

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
    rows = values.flatten(1) if values.dim() > 1 else values.reshape(1, -1)
    width = rows.shape[1]
    rising = torch.linspace(density - epsilon, density + epsilon, width) if width > 1 else torch.tensor([density])
    rising = rising.to(values.device)  # made on the CPU, for the same bits on any device
    chances = torch.empty(rows.shape, device=values.device)
    for block in range(0, len(rows), step := max(1, _BLOCK // width)):
        order = rows[block : block + step].abs().argsort(dim=1, stable=True)
        chances[block : block + step].scatter_(1, order, rising.expand(order.shape))
    flat, chances = rows.reshape(-1), chances.reshape(-1)
    kept = torch.zeros_like(flat)
    for block, drawn in _drawn(flat.numel(), key):
        part = chances[block].double()
        chosen = torch.from_numpy(drawn.astype(np.int64)).to(values.device) < (part * _LEVELS).round()
        kept[block] = torch.where(chosen, flat[block] / part if rescale else flat[block], 0).to(flat.dtype)
    return kept.reshape(values.shape)


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


def _drawn(count: int, key: int) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
    """The numbers of a stream for ``count`` entries, a block at a time."""
    numbers = np.random.Philox(key=key)
    for first in range(0, count, _BLOCK):
        size = min(_BLOCK, count - first)
        yield slice(first, first + size), _next(numbers, size)


def _next(numbers: np.random.Philox, size: int) -> NDArray[np.uint32]:
    """The next numbers of a stream; after an odd number of them, one is left out."""
    return numbers.random_raw((size + 1) // 2).astype("<u8", copy=False).view("<u4")[:size]
