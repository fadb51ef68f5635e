"""A job that is begun while the one before it is computed: a thread reads and hashes its tensors meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from mergeometry.digests import DEFAULT
from mergeometry.execution.compute import Job, Outcome, computed
from mergeometry.execution.task_pieces import Pieces
from mergeometry.execution.task_reader import TaskReader
from mergeometry.plan.reading import reads_ahead
from mergeometry.sink import SlotWriter
from mergeometry.sources import TensorReader


class Begun:
    """A job whose first entries are read from now on, or all that stay in memory; call it to do the rest, or close it.

    What reading raises is raised by the call.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._reader = job, TensorReader()
        inputs = TaskReader(self._reader, job.labels, job.algorithm, job.directions)
        # Made here, not in the thread: memory that a thread takes and frees does not come back to the others.
        self._pieces = Pieces(job.task, inputs, self._reader)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="begin")
        self._reading = self._thread.submit(self._pieces.begin)

    def __call__(self) -> Outcome:
        """Merge, check and write the tensor.

        Raises:
            MergeometryError: as `compute` does.
        """
        with closing(self), SlotWriter(self._job.folder, algorithm=self._job.algorithm or DEFAULT) as writer:
            return computed(self._job, self._reader, writer, self._begun)

    def close(self) -> None:
        """Wait until nothing is read any more."""
        self._thread.shutdown()
        self._reader.close()

    def _begun(self) -> Pieces:
        self._reading.result()
        return self._pieces


def begin(job: Job) -> Begun | None:
    """Begin a job; None where that saves nothing, or reading takes arithmetic too, which belongs to one thread."""
    if job.device != "cpu" or not reads_ahead(job.task):
        return None
    try:
        return Begun(job)
    except Exception:  # without memory or a thread; the job itself will tell what else is wrong, in its turn
        return None
