"""Runs jobs on this machine: one after another in this process, or side by side in worker processes."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Generic

import torch

from mergeometry.errors import ExecutionError
from mergeometry.execution.executor import Given, Result
from mergeometry.execution.threads import ENVIRONMENT, one_thread

if TYPE_CHECKING:
    from loky.process_executor import ProcessPoolExecutor

_ORPHAN_SECONDS = 0.5

_TAKEN_FOR_A_LEAK = r"A worker (stopped|was restarted) while some jobs .*memory leak"
"""How loky's warning of a large worker begins, in its older and its newer words."""


class _InThisProcess(Generic[Given, Result]):
    """One job at a time, in order."""

    def __init__(self, work: Callable[[Given], Result]) -> None:
        self._work, self._waiting = work, deque[Given]()

    @property
    def room(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, job: Given) -> None:
        self._waiting.append(job)

    def finished(self) -> tuple[Given, Result] | None:
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        return job, self._work(job)


class _InProcesses(Generic[Given, Result]):
    """As many jobs at a time as there are worker processes."""

    def __init__(self, work: Callable[[Given], Result], workers: int, pool: ProcessPoolExecutor) -> None:
        self._work, self._workers, self._pool = work, workers, pool
        self._running: dict[Future[Result], Given] = {}

    @property
    def room(self) -> int:
        # Few jobs are submitted ahead, so that a stop does not have to wait for a queue to drain.
        return self._workers + 1 - len(self._running)

    def submit(self, job: Given) -> None:
        self._running[self._pool.submit(self._work, job)] = job

    def finished(self) -> tuple[Given, Result] | None:
        if not self._running:
            return None
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        future = next(future for future in self._running if future in done)
        return self._running.pop(future), future.result()


@contextmanager
def in_this_process(work: Callable[[Given], Result]) -> Iterator[_InThisProcess[Given, Result]]:
    """Run jobs in this process, on one thread."""
    with one_thread():
        yield _InThisProcess(work)


@contextmanager
def in_processes(work: Callable[[Given], Result], workers: int) -> Iterator[_InProcesses[Given, Result]]:
    """Run jobs in worker processes, which end with the block.

    Raises:
        ExecutionError: a worker process dies, most often because memory runs out.
    """
    # loky starts workers without importing the caller's script, which multiprocessing would run again.
    from loky.process_executor import ProcessPoolExecutor  # noqa: PLC0415

    _refuse_removed_folder()
    # Workers grow with the tensors that they work on, which loky takes for a leak; it then starts another and says so.
    warnings.filterwarnings("ignore", _TAKEN_FOR_A_LEAK, UserWarning, r"loky\.process_executor")
    pool = ProcessPoolExecutor(
        max_workers=workers, initializer=_prepare, initargs=(os.getpid(),), env=dict(ENVIRONMENT)
    )
    ended = False
    try:
        yield _InProcesses(work, workers, pool)
        ended = True
    except BrokenProcessPool as error:
        raise ExecutionError(
            "a worker process died",
            hint="out of memory is the usual cause: use fewer --workers; `mergeometry plan` estimates the peak",
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=not ended)


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
