"""Runs jobs on this machine: one after another in this process, or side by side in worker processes."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from mergeometry.errors import ExecutionError
from mergeometry.execution.executor import Begun, Given, Result
from mergeometry.execution.fork_server import ForkServer
from mergeometry.execution.threads import one_thread


class _InThisProcess(Generic[Given, Result]):
    """One job at a time, in order; the next is begun meanwhile."""

    def __init__(self, work: Callable[[Given], Result], begin: Callable[[Given], Begun[Result] | None]) -> None:
        self._work, self._begin, self._waiting = work, begin, deque[Given]()
        self._begun: Begun[Result] | None = None

    @property
    def room(self) -> int:
        return 2 - len(self._waiting)

    def submit(self, job: Given) -> None:
        self._waiting.append(job)

    def finished(self) -> tuple[Given, Result] | None:
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        work = self._begun or partial(self._work, job)
        self._begun = self._begin(self._waiting[0]) if self._waiting else None
        return job, work()

    def close(self) -> None:
        if self._begun is not None:
            self._begun.close()


class _InProcesses(Generic[Given, Result]):
    """As many jobs at a time as there are worker processes."""

    def __init__(self, work: Callable[[Given], Result], connections: list[Connection]) -> None:
        self._work, self._connections = work, connections
        self._waiting = deque[Given]()
        self._idle: list[Connection] = []
        self._running: dict[Connection, Given] = {}
        self._processes: dict[Connection, int] = {}

    @property
    def room(self) -> int:
        # One job waits for the worker that is finished first; more would keep a stop waiting.
        return len(self._connections) + 1 - len(self._running) - len(self._waiting)

    def submit(self, job: Given) -> None:
        self._waiting.append(job)
        self._hand_out()

    def finished(self) -> tuple[Given, Result] | None:
        while self._running or self._waiting:
            for connection in wait(self._connections):
                assert isinstance(connection, Connection)
                said = _received(connection)
                self._idle.append(connection)
                if connection not in self._processes:
                    self._processes[connection] = said
                    self._hand_out()
                    continue
                job = self._running.pop(connection)
                self._hand_out()
                result, error, where = said
                if error is not None:
                    raise error from _WorkerError(where)
                return job, result
        return None

    def kill(self) -> None:
        """Kill every worker, and return once all are gone."""
        for process in self._processes.values():
            # Its number is not given away: the process that it was forked from does not wait for it.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for connection in self._processes:
            with suppress(EOFError, OSError):
                while True:
                    connection.recv_bytes()

    def _hand_out(self) -> None:
        """Give jobs to the workers that have none; one that has not come up yet gets none, and so can be left."""
        from cloudpickle import dumps  # noqa: PLC0415  (one process needs none)

        while self._waiting and self._idle:
            connection, job = self._idle.pop(), self._waiting.popleft()
            self._running[connection] = job
            try:
                # By value where it is a function or class of a caller's script, which no worker imports.
                connection.send_bytes(dumps((self._work, job)))
            except OSError as error:
                raise _died() from error


class _WorkerError(Exception):
    """Where in a worker an error happened."""


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError) as error:
        raise _died() from error


def _died() -> ExecutionError:
    return ExecutionError(
        "a worker process died",
        hint="out of memory is the usual cause: use fewer --workers; `mergeometry plan` estimates the peak",
    )


@contextmanager
def in_this_process(
    work: Callable[[Given], Result], begin: Callable[[Given], Begun[Result] | None]
) -> Iterator[_InThisProcess[Given, Result]]:
    """Run jobs in this process: arithmetic on one thread, while others read and write."""
    with one_thread(), closing(_InThisProcess(work, begin)) as jobs:
        yield jobs


@contextmanager
def in_processes(
    work: Callable[[Given], Result], workers: int, server: ForkServer | None = None
) -> Iterator[_InProcesses[Given, Result]]:
    """Run jobs in worker processes, which end with the block; without a server that lasts, one that ends with it too.

    Raises:
        ExecutionError: a worker process dies, most often because memory runs out.
    """
    with ExitStack() as stack:
        source = server or stack.enter_context(ForkServer())
        connections = []
        for _ in range(workers):
            connections.append(connection := source.worker())
            stack.enter_context(connection)
        jobs = _InProcesses[Given, Result](work, connections)
        try:
            yield jobs
        except BaseException:
            jobs.kill()
            raise
