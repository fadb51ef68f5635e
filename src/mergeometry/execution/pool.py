"""The one scheduler: keeps jobs running, here or wherever an executor runs them, and yields results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mergeometry.execution.begun import begin
from mergeometry.execution.compute import Job, Outcome, compute
from mergeometry.execution.demands import writing
from mergeometry.execution.executor import LOCAL, NO_DEMANDS, Demands, Executor, Given, Result


def run_jobs(jobs: Sequence[Job], workers: int, executor: Executor = LOCAL) -> Generator[Outcome]:
    """Yield outcomes as jobs finish; one worker runs in this process, in order.

    Raises:
        ExecutionError: a worker process dies, most often because memory runs out.
        MergeometryError: a job fails; the other jobs are stopped.
    """
    demands = replace(writing(_written), begin=begin)
    with closing(side_by_side(compute, deque(jobs), min(workers, len(jobs)), executor, demands)) as finished:
        for _, outcome in finished:
            yield outcome


def _written(job: Job) -> Collection[Path]:
    return {job.folder / slot.file for slot in job.slots}


def side_by_side(
    work: Callable[[Given], Result],
    waiting: deque[Given],
    workers: int,
    executor: Executor = LOCAL,
    demands: Demands[Given] = NO_DEMANDS,
) -> Generator[tuple[Given, Result]]:
    """Yield each job with its result as it finishes; one local worker runs in this process, in order.

    Jobs are taken from the left of ``waiting``, to which the caller may add the jobs that a result calls for.
    ``work`` and the jobs must be importable and picklable.

    Raises:
        ExecutionError: a worker dies, most often because memory runs out.
        MergeometryError: a job fails; the other jobs are stopped.
    """
    if not waiting:
        return
    with executor.running(work, workers, demands) as running:
        while True:
            while waiting and running.room > 0:
                running.submit(waiting.popleft())
            finished = running.finished()
            if finished is None:
                return
            yield finished


def all_of(
    work: Callable[[Given], Result],
    jobs: Sequence[Given],
    workers: int,
    executor: Executor,
    demands: Demands[Given] = NO_DEMANDS,
) -> list[Result]:
    """The results of jobs in the order of the jobs.

    Raises:
        ExecutionError: a worker dies, most often because memory runs out.
        MergeometryError: a job fails; the other jobs are stopped.
    """
    with closing(side_by_side(work, deque(jobs), workers, executor, demands)) as finished:
        results = {id(job): result for job, result in finished}
    return [results[id(job)] for job in jobs]
