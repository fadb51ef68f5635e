"""An executor whose jobs run as on a cluster, in this process: each job and each result is pickled on its way."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mergeometry.execution.executor import Demands, Local, Running
from mergeometry.execution.local_jobs import in_this_process


@dataclass(frozen=True, slots=True)
class Elsewhere(Local):
    """Two workers that learn, too; ``ran`` names what ran there."""

    ran: list[str] = field(default_factory=list)

    def workers(self, asked: int | None, memory: int) -> Any:
        return asked or 2

    def gpus(self) -> int:
        return 0

    @property
    def learns(self) -> bool:
        return True

    @contextmanager
    def running(self, work: Callable[[Any], Any], workers: int, demands: Demands[Any]) -> Iterator[Running[Any, Any]]:
        def carried(job: Any) -> Any:
            self.ran.append(f"{work.__name__} {demands.name(job)}")
            return pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(job)))))

        with in_this_process(carried, lambda job: None) as jobs:
            yield jobs
