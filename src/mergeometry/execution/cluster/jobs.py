"""Jobs as tasks of a Ray cluster; one that its worker or node did not survive runs again elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from mergeometry.errors import ExecutionError, listed
from mergeometry.execution.cluster.nodes import Expected, nodes_of, problems_here
from mergeometry.execution.executor import Demands, Given, Result
from mergeometry.execution.threads import one_thread
from mergeometry.sink.failures import explained, readable_bytes
from mergeometry.sink.files import FileSystem

ATTEMPTS = 4
"""How often a job is begun before the merge gives up: whatever kills so many workers will kill the next one."""

ALONE_SECONDS = 300.0
"""How long a cluster may be without a node that has room for the jobs that wait: lost nodes are often replaced."""

_LOOK_SECONDS = 5.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """A job's result, or the error that it ended with, and the node that it ran on."""

    node: str
    result: Result | None = None
    error: BaseException | None = None


def carry_out(
    work: Callable[[Given], Result], job: Given, writes: Sequence[Path], expected: Expected
) -> Answer[Result]:
    """Run a job in a worker of the cluster; what it wrote is on the shared disk once this returns."""
    node = os.uname().nodename
    try:
        if problems := problems_here(expected):
            raise ExecutionError(listed("a node does not fit the others:", problems))
        with one_thread():
            result = work(job)
        # A node that is lost later takes what it has not written out along; its jobs would count as done.
        for path in writes:
            with explained("a staged file cannot be synced to the shared disk", path):
                FileSystem().sync_file(path)
    except Exception as error:
        error.add_note(f"on the node {node}")
        return Answer(node, error=error)
    return Answer(node, result=result)


class Tasks(Generic[Given, Result]):
    """Jobs that run on a cluster; each asks for one CPU and for the memory that its process may take."""

    def __init__(
        self, ray: Any, work: Callable[[Given], Result], workers: int, demands: Demands[Given], expected: Expected
    ) -> None:
        self._ray, self._work, self._workers, self._demands, self._expected = ray, work, workers, demands, expected
        self._task = ray.remote(carry_out)
        self._running: dict[Any, tuple[Given, int]] = {}
        self._alone_since: float | None = None

    @property
    def room(self) -> int:
        """How many more jobs may run at a time."""
        return self._workers - len(self._running)

    def submit(self, job: Given) -> None:
        """Give the cluster a job."""
        self._begin(job, 1)

    def finished(self) -> tuple[Given, Result] | None:
        """Wait for a result; a job that its worker did not survive is begun again meanwhile.

        Raises:
            ExecutionError: workers die over and over, or no node is left.
        """
        while self._running:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK_SECONDS)
            if not done:
                self._refuse_without_nodes()
            elif (found := self._taken(done[0])) is not None:
                return found
        return None

    def stop(self) -> None:
        """End what still runs, and wait until it has ended: nothing may write into a folder that is removed."""
        left = list(self._running)
        for reference in left:
            self._ray.cancel(reference, force=True)
        if left:
            self._ray.wait(left, num_returns=len(left), timeout=_STOP_SECONDS)

    def _begin(self, job: Given, attempt: int) -> None:
        memory = rounded(self._demands.memory(job))
        # Tried again by us: Ray would begin a job that no worker survives over and over.
        gpus = self._demands.gpu(job)
        options = self._task.options(num_cpus=1, num_gpus=gpus or None, memory=memory or None, max_retries=0)
        writes = tuple(self._demands.writes(job))
        self._running[options.remote(self._work, job, writes, self._expected)] = (job, attempt)

    def _taken(self, reference: Any) -> tuple[Given, Result] | None:
        """A job with its result; None where it is begun again."""
        errors = self._ray.exceptions
        job, attempt = self._running.pop(reference)
        try:
            answer: Answer[Result] = self._ray.get(reference)
        except errors.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ExecutionError(
                f"a worker of the cluster cannot run jobs: {reason}", tensor=self._demands.name(job)
            ) from error
        except errors.RayError as error:
            if attempt == ATTEMPTS:
                raise ExecutionError(
                    f"the worker died {ATTEMPTS} times, the last time by {type(error).__name__}",
                    tensor=self._demands.name(job),
                    hint="out of memory is the usual cause; the job was given "
                    f"{readable_bytes(self._demands.memory(job))}, and `mergeometry plan` estimates the peak",
                ) from error
            self._begin(job, attempt + 1)
            return None
        if answer.error is not None:
            raise answer.error
        return job, answer.result  # type: ignore[return-value]  (a result may be None itself)

    def _refuse_without_nodes(self) -> None:
        """Give up once no node has had room for the waiting jobs for long; where others use the cluster, wait on."""
        needed = max(self._demands.memory(job) for job, _ in self._running.values())
        if any(node.memory >= needed for node in nodes_of(self._ray)):
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since > ALONE_SECONDS:
            raise ExecutionError(
                f"the cluster has had no node with a CPU and {readable_bytes(needed)} for {ALONE_SECONDS:.0f} s",
                hint="`ray status` shows which nodes are left",
            )


@contextmanager
def tasks(
    ray: Any, work: Callable[[Given], Result], workers: int, demands: Demands[Given], expected: Expected
) -> Iterator[Tasks[Given, Result]]:
    """Run jobs as tasks; those that are left at the end of the block are stopped."""
    running = Tasks(ray, work, workers, demands, expected)
    try:
        yield running
    finally:
        running.stop()


def rounded(memory: int) -> int:
    """Bytes rounded up by at most a quarter: Ray keeps a queue for every amount that is asked for."""
    step = max(1, 1 << max(0, memory.bit_length() - 3))
    return -(-memory // step) * step
