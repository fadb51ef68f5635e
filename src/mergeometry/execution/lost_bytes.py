"""Reads the staged tensors again where several machines wrote them: caches of a shared disk can lose bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mergeometry.digests import Algorithm
from mergeometry.errors import ExecutionError
from mergeometry.execution.compute import Outcome
from mergeometry.execution.executor import Demands, Executor
from mergeometry.execution.pool import side_by_side
from mergeometry.plan.machine import PROCESS_BYTES
from mergeometry.plan.plan import Plan
from mergeometry.sink import Slot, Staging
from mergeometry.sink.writer import slot_digest


@dataclass(frozen=True, slots=True)
class Written:
    """One tensor's place in the staged folder, and the digest of what was written there."""

    name: str
    slot: Slot
    folder: Path
    digest: str
    algorithm: Algorithm


def lost(job: Written) -> bool:
    """Whether other bytes are in a tensor's place than were written there.

    Raises:
        OutputError: the file cannot be read.
    """
    return slot_digest(job.folder, job.slot, job.algorithm) != job.digest


def refuse_lost(plan: Plan, staging: Staging, outcomes: Iterable[Outcome], workers: int, executor: Executor) -> None:
    """Check that the shared disk holds what was written; nothing is read where one machine wrote all.

    Raises:
        ExecutionError: a tensor's bytes are not those that a worker wrote.
    """
    if not executor.several_machines:
        return
    digests = {outcome.name: outcome.written for outcome in outcomes}
    jobs = [
        Written(output.name, plan.layout.slots[output.name], staging.folder, digest, plan.recipe.output.digest)
        for task in plan.tasks
        for output, digest in zip(task.outputs, digests.get(task.name, ()), strict=False)
    ]
    demands = Demands[Written](name=lambda job: job.name, memory=lambda _: PROCESS_BYTES)
    with closing(side_by_side(lost, deque(jobs), min(workers, len(jobs)), executor, demands)) as finished:
        wrong = sorted((job.name, job.slot.file) for job, is_lost in finished if is_lost)
    if wrong:
        raise ExecutionError(
            f"the shared disk lost bytes of {len(wrong)} tensors that its nodes had written",
            file=staging.folder / wrong[0][1],
            tensor=wrong[0][0],
            hint="--resume merges these again; with one node, `--workers 1`, no two machines write one file",
        )
