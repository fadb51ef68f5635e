"""The one scheduler: runs jobs one after another in this process, or side by side in worker processes."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import TypeVar

import torch

from mergeometry.errors import ExecutionError
from mergeometry.execution.compute import Job, Outcome, compute
from mergeometry.execution.threads import ENVIRONMENT, one_thread

_ORPHAN_SECONDS = 0.5

_TAKEN_FOR_A_LEAK = r"A worker (stopped|was restarted) while some jobs .*memory leak"
"""How loky's warning of a large worker begins, in its older and its newer words."""

Given = TypeVar("Given")
Result = TypeVar("Result")


def run_jobs(jobs: Sequence[Job], workers: int) -> Generator[Outcome]:
    """Yield outcomes as jobs finish; one worker runs in this process, in order.

    Raises:
        ExecutionError: a worker process dies, most often because memory runs out.
        MergeometryError: a job fails; the other jobs are stopped.
    """
    with closing(side_by_side(compute, deque(jobs), min(workers, len(jobs)))) as finished:
        for _, outcome in finished:
            yield outcome


def side_by_side(
    work: Callable[[Given], Result], waiting: deque[Given], workers: int
) -> Generator[tuple[Given, Result]]:
    """Yield each job with its result as it finishes; one worker runs in this process, in order.

    Jobs are taken from the left of ``waiting``, to which the caller may add the jobs that a result calls for.
    ``work`` and the jobs must be importable and picklable.

    Raises:
        ExecutionError: a worker process dies, most often because memory runs out.
        MergeometryError: a job fails; the other jobs are stopped.
    """
    if workers <= 1:
        with one_thread():
            while waiting:
                job = waiting.popleft()
                yield job, work(job)
        return
    yield from _in_processes(work, waiting, workers)


def _in_processes(
    work: Callable[[Given], Result], waiting: deque[Given], workers: int
) -> Generator[tuple[Given, Result]]:
    # loky starts workers without importing the caller's script, which multiprocessing would run again.
    from loky.process_executor import ProcessPoolExecutor  # noqa: PLC0415

    _refuse_removed_folder()
    # Workers grow with the tensors that they work on, which loky takes for a leak; it then starts another and says so.
    warnings.filterwarnings("ignore", _TAKEN_FOR_A_LEAK, UserWarning, r"loky\.process_executor")
    executor = ProcessPoolExecutor(
        max_workers=workers, initializer=_prepare, initargs=(os.getpid(),), env=dict(ENVIRONMENT)
    )
    running: dict[Future[Result], Given] = {}
    finished = False
    try:
        while True:
            # Few jobs are submitted ahead, so that a stop does not have to wait for a queue to drain.
            while len(running) < workers + 1 and waiting:
                job = waiting.popleft()
                running[executor.submit(work, job)] = job
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
        finished = True
    except BrokenProcessPool as error:
        raise ExecutionError(
            "a worker process died",
            hint="out of memory is the usual cause: use fewer --workers; `mergeometry plan` estimates the peak",
        ) from error
    finally:
        executor.shutdown(wait=True, kill_workers=not finished)


def _refuse_removed_folder() -> None:
    """A process that is started begins in the current folder."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ExecutionError(
            "workers cannot be started: the current folder was removed",
            hint="change into a folder that exists, or use --workers 1",
        ) from error


def _prepare(parent: int) -> None:
    # Ctrl-C, a closed terminal and many schedulers reach the whole group; the parent alone decides what that means.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """End this worker soon after its parent, which cannot tell it to stop if it was killed."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_SECONDS)
    os._exit(1)
