"""Foretells what a tensor task costs: bytes, floating-point operations, memory and seconds.

The formulas count what `execution` does, family by family. Seconds are rough, from the rates of
one core of a common server; memory is an upper bound that the tests hold the engine to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergeometry.plan.machine import BYTES_PER_SECOND, ELEMENTS_PER_SECOND, FLOAT64_FLOPS_PER_SECOND
from mergeometry.scaling import find

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.recipe.scale import ScaleRule
    from mergeometry.refinements.base import Refinement

_ALGEBRA_BYTES = 60_000_000
"""What the BLAS libraries keep for themselves once a matrix was decomposed."""

_ALLOCATOR = 1.1
"""Memory that the allocator has not given back yet for each byte in use, measured on matrices of 8 to 32 MB."""

CHUNK_ELEMENTS = 1 << 20
"""Elements of one step of an elementwise sum: large enough for the disk, small enough for the cache."""


def rows_at_once(shape: Sequence[int]) -> int:
    """How many whole rows of a matrix one step of a merge row by row takes; 0 for what is no matrix or is empty."""
    return max(1, CHUNK_ELEMENTS // shape[1]) if len(shape) == 2 and 0 not in shape else 0


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes read and written, floating-point operations, working memory in bytes, seconds on one core."""

    read: int
    written: int
    flops: float
    memory: int
    seconds: float


def copy_cost(nbytes: int, compared: int, written: bool) -> Cost:
    """Cost of a tensor that is copied from the base, after ``compared`` other copies were held against it."""
    if not (compared or written):
        return Cost(0, 0, 0.0, 0, 0.0)
    read, out = nbytes * (1 + compared), nbytes * written
    return Cost(read, out, 0.0, 6 * nbytes, (read + out) / BYTES_PER_SECOND)


def merge_cost(
    method: Method,
    shape: Sequence[int],
    *,
    ranks: Sequence[int | None],
    read: int,
    written: int,
    widest: int,
    transposed: bool = False,
    refinements: Sequence[Refinement] = (),
    scaling: ScaleRule | None = None,
) -> Cost:
    """Cost of merging one tensor; ``ranks`` holds each task's low rank, or None where it is dense.

    ``widest`` is the size in bytes of the largest input tensor as stored; ``transposed`` says that files hold the
    matrix the other way round.
    """
    from mergeometry.methods.activational import Activational  # noqa: PLC0415  (needs torch)
    from mergeometry.methods.base import Directional, Linear, Rowwise, Spectral  # noqa: PLC0415

    elements = math.prod(shape)
    number = 8 if widest > 4 * elements else 4
    dense = [rank for rank in ranks if rank is None]
    streams, stored = isinstance(method, Directional | Linear), read
    thin = 4 * elements * (len(ranks) - len(dense))
    rows = 0 if transposed or refinements or scaling is not None else rows_at_once(shape)
    if isinstance(method, Linear) and dense:
        flops, memory = 3.0 * elements * len(ranks), 8 * number * CHUNK_ELEMENTS + written + thin
    elif isinstance(method, Rowwise) and dense and rows:
        # All tasks' rows beside the base's and the merge's, and a few copies of one task's in float64.
        step = rows * shape[1]
        flops = 40.0 * elements * len(ranks)
        memory = (number * (2 * len(ranks) + 4) + 32) * step + written + thin
    elif isinstance(method, Directional | Spectral) or (isinstance(method, Linear) and len(shape) == 2):
        flops, memory = _matrix(method, shape, ranks, number)
        memory += widest + written
    elif isinstance(method, Activational):
        flops, working = method.cost(shape, ranks)
        # The base, every dense task vector and the merge beside what the method works with.
        memory = int(_ALGEBRA_BYTES + number * elements * (len(dense) + 3) + _ALLOCATOR * working) + widest + written
    else:
        flops = 40.0 * elements * len(ranks)
        memory = number * elements * (2 * len(ranks) + 1) + widest + written
    if refinements:
        # What reads its task vectors one at a time reads them again for each refinement, which holds one of them.
        held = number * elements * (1 if streams else len(dense)) if dense else 0
        more = [refinement.cost(shape, len(ranks)) for refinement in refinements]
        flops += sum(operations for operations, _ in more)
        refining = 2 * number * elements + held + _ALLOCATOR * max(working for _, working in more)
        memory = max(memory, int(_ALGEBRA_BYTES + refining) + widest + written)
        read += stored * len(refinements) * streams
    if scaling is not None:
        more_flops, more_memory, passes = _measuring(scaling, shape, len(ranks), number, len(dense), streams=streams)
        flops, read = flops + more_flops, read + stored * passes
        memory = max(memory, more_memory + widest + written)
        if scaling.per == "model":
            # Every tensor is merged once to be measured, and once to be written.
            read, flops = 2 * read, 2 * flops
    seconds = (read + written) / BYTES_PER_SECOND + elements * len(dense) / ELEMENTS_PER_SECOND
    return Cost(read, written, flops, memory, seconds + flops / FLOAT64_FLOPS_PER_SECOND)


def _measuring(
    scaling: ScaleRule, shape: Sequence[int], tasks: int, number: int, dense: int, *, streams: bool
) -> tuple[float, int, int]:
    """Operations and bytes of a rule for the scale, and how often it reads its task vectors again."""
    from mergeometry.refinements import registry as refinement_registry  # noqa: PLC0415  (needs torch)

    needs, elements = find(scaling.rule).needs, math.prod(shape)
    pairs = tasks * (tasks + 1) / 2 if "gram" in needs else 0
    flops, working = 2.0 * elements * (2 * tasks + 1 + pairs), 16 * CHUNK_ELEMENTS
    if "svc" in needs and len(shape) == 2:
        calibrating, bytes_of_it = refinement_registry.build("svc", {}).cost(shape, tasks)
        flops, working = flops + calibrating, working + bytes_of_it
    held = number * elements * (min(dense, 1) if streams and "gram" not in needs else dense)
    memory = int(_ALGEBRA_BYTES + 2 * number * elements + held + _ALLOCATOR * working)
    return flops, memory, streams * (1 + ("svc" in needs))


def _matrix(method: Method, shape: Sequence[int], ranks: Sequence[int | None], number: int) -> tuple[float, int]:
    """Operations and bytes: the base beside the hungriest of decomposing, merging and adding."""
    from mergeometry.methods.base import Directional, Spectral  # noqa: PLC0415  (needs torch)
    from mergeometry.methods.ranks import rank_of  # noqa: PLC0415

    long, short = max(shape), min(shape)
    tasks, held = len(ranks), number * long * short * sum(rank is None for rank in ranks)
    if isinstance(method, Directional):
        counts = [min(rank_of(method.rank, shape, tasks, rank), short) for rank in ranks]
        total, held = sum(counts), 0
    else:
        counts = [short if rank is None else rank for rank in ranks]
        total = min(short, sum(counts))
    flops = 0.0
    for rank, count in zip(ranks, counts, strict=True):
        if rank is None:
            flops += long * short**2 + 2 * short**3 + 2 * long * short * count
        else:
            flops += 4 * (long + short) * rank**2 + 20 * rank**3
    if hasattr(method, "rank") or None not in ranks:
        flops += 6 * (long + short) * total**2 + 8 * total**3 + 2 * long * short * total
    else:
        # A whole spectrum is flattened once, of the sum, and no subspace is put together.
        flops, total = long * short**2 + 8 * short**3 + 2 * long * short**2, 0
    thin = 8 * (long + short) * total
    # The polar factor of an ill-conditioned basis takes a whole SVD, with copies of what goes in and out.
    merging = 2 * thin + max(32 * long * total + 48 * total**2, 8 * total**2 * (2 * tasks + 4))
    decomposing = (
        (number + 24) * long * short + (32 if held == 0 else 56) * short**2 + (thin if held == 0 else 0)
        if None in ranks
        else 0
    )
    adding = thin + 3 * number * long * short
    base = number * long * short
    peak = _ALGEBRA_BYTES + base + held + _ALLOCATOR * max(decomposing, merging, adding)
    more = method.extra_cost(shape, ranks, number) if isinstance(method, Spectral) else (0.0, 0)
    return flops + more[0], int(peak + more[1])
