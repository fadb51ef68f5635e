"""What the jobs on one tensor take of the machine that runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mergeometry.execution.executor import Demands
from mergeometry.plan.machine import PROCESS_BYTES
from mergeometry.plan.tasks import TensorTask


class OnTensor(Protocol):
    """A job on one tensor."""

    @property
    def task(self) -> TensorTask:
        """What is done to the tensor."""
        ...

    @property
    def device(self) -> str:
        """Where it is merged."""
        ...


Job = TypeVar("Job", bound=OnTensor)


def writing(files: Callable[[Job], Collection[Path]]) -> Demands[Job]:
    """The demands of jobs that merge one tensor each and write it into files."""
    return Demands(
        name=lambda job: job.task.name,
        memory=lambda job: PROCESS_BYTES + job.task.cost.memory,
        gpu=lambda job: int(job.device != "cpu"),
        writes=files,
    )


MEASURING: Demands[Any] = writing(lambda _: ())
"""The demands of jobs that merge one tensor each, and keep nothing but figures."""
