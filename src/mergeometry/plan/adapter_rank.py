"""The rank that an adapter gives a matrix: what the recipe asks for, as far as sizes alone tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from mergeometry.linalg.svd import RANK_TOLERANCE
from mergeometry.recipe.adapter_output import Rank


def full_rank(shape: Sequence[int]) -> int:
    """The highest rank that a tensor's update can have; a convolution's is that of (outputs, all else)."""
    return min(shape[0], math.prod(shape[1:]))


def highest(rank: Rank | None, full: int) -> int:
    """The highest rank that a matrix of the ``full`` rank can get; what `auto` gives is known once it is measured."""
    if rank is None or isinstance(rank, str):
        return full
    return min(full, rank) if isinstance(rank, int) else max(1, math.ceil(rank * full))


def rank_for(energy: float, values: Sequence[float]) -> int:
    """The fewest leading singular values, descending, that keep this share of their squares' sum; at least one."""
    squares = [value * value for value in values if value > RANK_TOLERANCE * values[0]]
    wanted = energy * math.fsum(squares)
    kept = sum(total < wanted for total in accumulate(squares)) + 1
    return min(kept, max(1, len(squares)))
