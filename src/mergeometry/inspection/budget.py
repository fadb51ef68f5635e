"""Which tensors are measured where there is little time: as many as fit, spread over the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.execution.workers import MemoryLimit, limit_in_bytes
from mergeometry.inspection.cost import measure_cost
from mergeometry.inspection.figures import MeasureJob
from mergeometry.plan.machine import PROCESS_BYTES, available_memory
from mergeometry.sink import RunRecord

SHARE, SECONDS = 0.1, 2.0
"""Of the merge's seconds, and at least so many: what a page costs that nobody asked for, by a cautious estimate."""

_MEMORY = 1 << 30
"""Bytes that a page may take at least, however little the merge did."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly however many there are."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Estimated seconds on one core, and bytes of memory for the process."""

    seconds: float
    memory: int

    @classmethod
    def after(cls, record: RunRecord, memory_limit: MemoryLimit = None) -> Budget:
        """A small share of what a merge took, and no more memory than it was estimated to take."""
        estimated = int(record.decisions.get("workers", {}).get("estimated_peak_bytes", 0))
        memory, available = max(estimated, _MEMORY), available_memory(limit_in_bytes(memory_limit))
        learned = float((record.adapt or {}).get("seconds", 0.0))
        return cls(
            max(SECONDS, SHARE * max(record.totals.seconds, learned)), min(memory, available) if available else memory
        )


def affordable(jobs: Sequence[MeasureJob], budget: Budget, *, merged: bool) -> list[MeasureJob]:
    """The jobs that fit into a budget, matrices first, in the order in which they came."""
    costs = {job.task.name: measure_cost(job.task, merged=merged) for job in jobs}
    named = sorted(costs)
    place = {name: number * _GOLDEN % 1 for number, name in enumerate(named)}
    chosen: set[str] = set()
    spent = 0.0
    for job in sorted(jobs, key=lambda job: (job.task.kind != "matrix", place[job.task.name])):
        cost = costs[job.task.name]
        if spent + cost.seconds <= budget.seconds and PROCESS_BYTES + cost.memory <= budget.memory:
            spent += cost.seconds
            chosen.add(job.task.name)
    return [job for job in jobs if job.task.name in chosen]
