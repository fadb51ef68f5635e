"""How long the stages of a run take, by the clock and by the processors."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mergeometry.execution.compute import Outcome
from mergeometry.plan.plan import Plan


class Timings:
    """Counts seconds from its making on; what planning took comes with the plan."""

    def __init__(self, plan: Plan) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, tuple[float, float]] = {}
        self.computed = 0
        """Tensors that this run merged; the others were finished by an earlier one."""
        if any(plan.planned_in):
            self._stages["plan"] = plan.planned_in

    @property
    def seconds(self) -> float:
        """Seconds by the clock since the run began."""
        return time.perf_counter() - self._started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of this process."""
        started, worked = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._add(name, time.perf_counter() - started, time.process_time() - worked)

    def finished(self, outcome: Outcome) -> None:
        """Count a tensor, and the work of the process that merged it."""
        self.computed += 1
        if outcome.process != os.getpid():
            self._add("merge", 0.0, outcome.processor)

    def to_json(self, tensors: int) -> dict[str, Any]:
        """Plain JSON values, for an output of so many ``tensors``."""
        stages = {
            name: {"seconds": round(seconds, 6), "processor_seconds": round(worked, 6)}
            for name, (seconds, worked) in self._stages.items()
        }
        return {"stages": stages, "tensors_computed": self.computed, "tensors_resumed": tensors - self.computed}

    def _add(self, name: str, seconds: float, worked: float) -> None:
        before = self._stages.get(name, (0.0, 0.0))
        self._stages[name] = (before[0] + seconds, before[1] + worked)
