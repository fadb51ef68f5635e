"""Which entries of a large tensor stand for all of them."""

from __future__ import annotations

from collections.abc import Sequence

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
