"""Runs jobs one after another here, or side by side in worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from threading import Thread
from typing import TypeVar

import torch

from mergeometry.errors import ExecutionError
from mergeometry.execution.compute import Job, Outcome, compute
from mergeometry.execution.threads import ENVIRONMENT, one_thread

_WORTH_WORKERS = 15.0
"""Seconds of work under which starting processes, each of which loads torch, takes longer than it saves."""

_ORPHAN_SECONDS = 0.5

Given = TypeVar("Given")
Result = TypeVar("Result")


def default_workers(seconds: float) -> int:
    """Workers for a plan of so many seconds on one core: one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if seconds > _WORTH_WORKERS else 1


def run_jobs(jobs: Sequence[Job], workers: int) -> Generator[Outcome]:
    """Yield outcomes as jobs finish; with one worker in this process, in order.

    Raises:
        ExecutionError: a worker process died, for want of memory most often.
        MergeometryError: the first error of any job; the others are stopped.
    """
    waiting = iter(jobs)
    finished = side_by_side(compute, lambda: next(waiting, None), min(workers, len(jobs)))
    with closing(finished):
        for _, outcome in finished:
            yield outcome


def side_by_side(
    work: Callable[[Given], Result], ask: Callable[[], Given | None], workers: int
) -> Generator[tuple[Given, Result]]:
    """Yield each piece of work with its result as it is finished; with one worker in this process, in order.

    ``ask`` gives the next piece, or None where there is none for now: what a result calls for may be asked for after
    that result was taken. ``work`` and the pieces must be importable and picklable.

    Raises:
        ExecutionError: a worker process died, for want of memory most often.
        MergeometryError: the first error of any piece; the others are stopped.
    """
    if workers <= 1:
        with one_thread():
            while (piece := ask()) is not None:
                yield piece, work(piece)
        return
    yield from _in_processes(work, ask, workers)


def _in_processes(
    work: Callable[[Given], Result], ask: Callable[[], Given | None], workers: int
) -> Generator[tuple[Given, Result]]:
    # loky starts workers without importing the caller's script, which multiprocessing would run again.
    from loky.process_executor import ProcessPoolExecutor  # noqa: PLC0415

    executor = ProcessPoolExecutor(
        max_workers=workers, initializer=_prepare, initargs=(os.getpid(),), env=dict(ENVIRONMENT)
    )
    running: dict[Future[Result], Given] = {}
    finished = False
    try:
        while True:
            # Few jobs are handed over ahead, so that a stop does not have to wait for a queue to drain.
            while len(running) < workers + 1 and (piece := ask()) is not None:
                running[executor.submit(work, piece)] = piece
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
        finished = True
    except BrokenProcessPool as error:
        raise ExecutionError(
            "a worker process died",
            hint="out of memory is the usual cause: use fewer --workers; `mergeometry plan` foretells the peak",
        ) from error
    finally:
        executor.shutdown(wait=True, kill_workers=not finished)


def _prepare(parent: int) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """End this worker soon after its parent: one that was killed can tell nobody to stop."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_SECONDS)
    os._exit(1)
