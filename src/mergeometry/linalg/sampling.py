"""Which entries of a large tensor stand for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Shaped, Tensor, torch

SAMPLED_ELEMENTS = 1 << 18
"""Entries of a tensor from which a sample is worth its reading."""

_SHARE = 32
"""One entry in so many is in a sample, up to `_MOST`."""

_MOST = 1 << 20
_FEW, _MANY = 32, 256
"""Blocks that a sample lies in: of entries together, since each is a read of its own."""


def sampled_blocks(elements: int) -> tuple[Sequence[int], int]:
    """Where the blocks of a sample begin, evenly spread over a tensor, and how many entries each has."""
    size = min(elements // _SHARE, _MOST)
    blocks = _MANY if size == _MOST else _FEW
    length = size // blocks
    return [place * (elements - length) // (blocks - 1) for place in range(blocks)], length


def blocks_of(
    entries: Shaped[Tensor, " elements"], starts: Sequence[int], length: int
) -> Shaped[Tensor, "blocks length"]:
    """The entries of some blocks of a tensor in memory."""
    return torch.stack([entries[start : start + length] for start in starts])


_STRIDES = (31, 37)
"""Primes: one entry in so many is in a sample, and of a matrix every column, unless its rows are a multiple as long."""


def spread_sample(entries: Shaped[Tensor, " elements"], width: int) -> Shaped[Tensor, "blocks length"]:
    """A copy of entries of a tensor in memory, whose rows are ``width`` long, evenly spread over it in every block."""
    stride = next((one for one in _STRIDES if width % one), _STRIDES[0])
    length = len(entries) // stride // _FEW
    return entries[: stride * _FEW * length : stride].view(length, _FEW).mT.contiguous()
