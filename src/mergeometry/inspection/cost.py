"""What measuring one tensor takes: seconds, and bytes in memory at the peak, from headers alone."""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.inspection.pieces import PIECE, can_read_in_pieces
from mergeometry.linalg.shrinkage import BYTES_PER_ROW
from mergeometry.methods.families.cost import ALGEBRA_BYTES, ALLOCATOR
from mergeometry.methods.families.directional import rank_of
from mergeometry.plan.cost import sizes_of
from mergeometry.plan.machine import BYTES_PER_SECOND, ELEMENTS_PER_SECOND, FLOAT64_FLOPS_PER_SECOND
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources.formed import FormedTensor

_COMPARED = 8.0
"""Passes over the entries of two task vectors that comparing their signs takes, with the conversion to float64."""


@dataclass(frozen=True, slots=True)
class MeasureCost:
    """Working memory in bytes, an upper bound, and rough seconds on one core."""

    memory: int
    seconds: float


def measure_cost(task: TensorTask, *, merged: bool) -> MeasureCost:
    """The cost of measuring a tensor, where its last source is the merged model if ``merged``."""
    sizes = sizes_of(task)
    tasks, elements = sizes.tasks - merged, sizes.elements
    pairs = max(1, tasks * (tasks - 1) // 2)
    seconds = task.base.nbytes * (sizes.dense + 1) / BYTES_PER_SECOND
    seconds += _COMPARED * elements * pairs / ELEMENTS_PER_SECOND
    # What no file holds as it is takes memory while it is formed, one tensor at a time.
    sources = (task.base, *task.sources)
    forming = max((source.working for source in sources if isinstance(source, FormedTensor)), default=0)
    if can_read_in_pieces(task):
        rows = sizes.shape[0] if len(sizes.shape) == 2 else 0
        return MeasureCost(16 * 8 * PIECE * (sizes.tasks + 2) + BYTES_PER_ROW * rows * sizes.tasks + forming, seconds)
    # The base in its own precision and in that of the arithmetic, and every dense task vector.
    held = sizes.number * elements * (2 + sizes.dense + 3 * task.forms_updates) + task.base.nbytes + forming
    if task.kind != "matrix":
        return MeasureCost(int(ALGEBRA_BYTES + held + ALLOCATOR * 3 * 8 * elements), seconds)
    long, short = max(sizes.shape), min(sizes.shape)
    counts = [rank_of("auto", sizes.shape, tasks, rank) for rank in sizes.ranks[:tasks]]
    total = sum(min(count, short) for count in counts)
    decomposed = sum(rank is None for rank in sizes.ranks)
    flops = decomposed * (long * short**2 + 2.0 * short**3) + 2.0 * long * short * total
    flops += 4.0 * (long + short) * total**2 + 2.0 * total**3 * (1 + 4 / max(1, tasks))
    thin = 8 * (long + short) * total
    working = 24 * long * short + 56 * short**2
    comparing = 2 * thin + 40 * total**2
    if merged:
        # All directions of the merge, its responses to each task, and the frame.
        flops += 10.0 * short**3 + 4.0 * long * short**2 * (tasks + 1) + 8.0 * total**3
        comparing += 8 * 3 * (long + short) * short + 2 * thin + 48 * total**2
    memory = int(ALGEBRA_BYTES + held + thin + ALLOCATOR * max(working + thin, comparing))
    return MeasureCost(memory, seconds + flops / FLOAT64_FLOPS_PER_SECOND)
