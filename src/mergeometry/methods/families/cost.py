"""What the merge of one tensor costs, in operations and bytes: the quantities that families estimate with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ALGEBRA_BYTES = 60_000_000
"""Bytes that the BLAS libraries keep after a decomposition."""

ALLOCATOR = 1.1
"""Bytes that the allocator holds per byte in use, measured on matrices of 8 to 32 MB."""

CHUNK_ELEMENTS = 1 << 18
"""Elements read and written at a time, at least: large enough for the disk, and read ahead without much memory."""

LARGEST_CHUNK = 1 << 20
"""Elements read and written at a time, at most: threads take turns less often, which each time takes their time."""

CHUNK_BYTES = 1 << 23
"""Bytes of all models that may be read at a time, where the fewest elements do not take more."""

PIECE_ELEMENTS = 1 << 17
"""Elements merged at a time: what one piece needs from all tasks stays in the processor's cache."""


READ_ONCE_BYTES = 1 << 26
"""Bytes of all models' copies of a tensor up to which they stay in memory from one pass to the next."""

HELD_BYTES = 1 << 28
"""Bytes of a tensor's summed task vectors up to which they are kept from the pass that measures for the merge."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one tensor's task vectors, as a plan knows them."""

    shape: tuple[int, ...]
    """(outputs, inputs) for matrices."""
    ranks: tuple[int | None, ...]
    """Each task's low rank, or None where it is dense."""
    number: int = 4
    """Bytes of a dense entry."""
    step: int = 0
    """Entries merged at a time where the tensor is merged in pieces; 0 where it is merged whole."""
    stays_thin: bool = False
    """Whether a merge of low-rank task vectors alone is never multiplied out, as where an adapter holds it."""

    @property
    def elements(self) -> int:
        """Entries of the tensor."""
        return math.prod(self.shape)

    @property
    def tasks(self) -> int:
        """How many task vectors there are."""
        return len(self.ranks)

    @property
    def dense(self) -> int:
        """How many of them are dense."""
        return self.ranks.count(None)

    @property
    def piece(self) -> int:
        """Bytes of one dense task vector that are in memory at a time."""
        return self.number * (self.step or self.elements)


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations, and bytes in memory at the peak: an upper bound."""

    flops: float
    memory: int

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.memory + other.memory)


def entrywise(sizes: Sizes) -> Work:
    """Every task vector dense, and one more copy of each."""
    return Work(40.0 * sizes.elements * sizes.tasks, 2 * sizes.tasks * sizes.piece)


def multiplied_out(sizes: Sizes) -> Work:
    """Low-rank task vectors side by side, multiplied out once to what is added to the base."""
    rows, total = max((1, *sizes.shape[:1])), sum(rank or 0 for rank in sizes.ranks)
    thin = total * (rows + sizes.elements // rows)
    return Work(2.0 * sizes.elements * total, int(2 * ALLOCATOR * sizes.number * (sizes.elements + thin)))


def whole_spectrum(sizes: Sizes) -> Work:
    """Dense matrices are held and added, and the whole spectrum of the sum is changed."""
    long, short = max(sizes.shape), min(sizes.shape)
    flops = long * short**2 + 8.0 * short**3 + 2 * long * short**2
    return Work(flops, _matrix_memory(sizes, 0, sizes.number * sizes.elements * sizes.dense))


def stacked_directions(sizes: Sizes, counts: Sequence[int], total: int, held: int) -> Work:
    """Each task vector gives ``counts`` directions, and ``total`` of them are put side by side and made orthogonal.

    ``held`` is the bytes of dense task vectors that stay in memory.
    """
    long, short = max(sizes.shape), min(sizes.shape)
    flops = _decomposing(sizes, counts)
    flops += 6 * (long + short) * total**2 + 8 * total**3 + 2 * long * short * total
    return Work(flops, _matrix_memory(sizes, total, held))


def regression_on_rows(sizes: Sizes) -> Work:
    """Second moments of the rows of all task vectors, and a solve for all outputs: beyond what a family counts.

    A square matrix of the input side is formed even where that is the longer one; for adapters alone, one of the span
    of their rows.
    """
    (m, n), tasks = sizes.shape, sizes.tasks
    if sizes.dense:
        return Work(4.0 * m * n * min(m, n) * tasks + 9.0 * n**3, 8 * m * n + 56 * n * max(0, n - m))
    total = min(n, sum(rank or 0 for rank in sizes.ranks))
    return Work(4.0 * total * total * (m * tasks + n), 8 * total * (4 * m + 2 * n))


def _decomposing(sizes: Sizes, counts: Sequence[int]) -> float:
    long, short = max(sizes.shape), min(sizes.shape)
    flops = 0.0
    for rank, count in zip(sizes.ranks, counts, strict=True):
        if rank is None:
            flops += long * short**2 + 2 * short**3 + 2 * long * short * count
        else:
            flops += 4 * (long + short) * rank**2 + 20 * rank**3
    return flops


def _matrix_memory(sizes: Sizes, total: int, held: int) -> int:
    """The largest need of decomposing, merging and adding."""
    long, short, number = max(sizes.shape), min(sizes.shape), sizes.number
    thin = 8 * (long + short) * total
    # The polar factor of an ill-conditioned basis takes a full SVD, with copies of its input and outputs.
    merging = 2 * thin + max(32 * long * total + 48 * total**2, 8 * total**2 * (2 * sizes.tasks + 4))
    decomposing = 0
    if sizes.dense:
        decomposing = (number + 24) * long * short + (32 if held == 0 else 56) * short**2 + (thin if held == 0 else 0)
    adding = thin + (0 if sizes.stays_thin else 3 * number * long * short)
    return int(ALGEBRA_BYTES + held + ALLOCATOR * max(decomposing, merging, adding))
