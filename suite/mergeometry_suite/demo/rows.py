"""The steps of one row of the leaderboard, and of its two ends: which jobs are due, and what they add up to."""

from __future__ import annotations

from typing import Any

from mergeometry_suite.demo.entries import Entry
from mergeometry_suite.demo.work import Job, Kind, Settings

ENDS = "ends"


class Ends:
    """The base with the experts' heads, and each expert on its own task."""

    def __init__(self, settings: Settings) -> None:
        self.result: dict[str, Any] | None = None
        self._settings = settings
        self._scored: dict[str, Any] = {}

    def first(self) -> list[Job]:
        """The jobs that need no other."""
        return [Job(self._settings, Kind.BASE), Job(self._settings, Kind.EXPERTS)]

    def take(self, job: Job, result: Any) -> list[Job]:
        """Take what a job returned, and return the jobs that are due after it."""
        self._scored[job.kind.value] = result
        if len(self._scored) == 2:
            self.result = {"base": self._scored["base"], "experts": self._scored["experts"]}
        return []


class RowSteps:
    """Merge at scale 1, choose a scale on validation texts, merge at that scale, score both on test texts.

    ``result`` is None until all of that is done.
    """

    def __init__(self, settings: Settings, entry: Entry) -> None:
        self.result: dict[str, Any] | None = None
        self._settings, self._entry = settings, entry
        self._totals: dict[str, Any] = {}
        self._validation: dict[float, float] = {}
        self._tested: dict[float, Any] = {}

    def first(self) -> list[Job]:
        """The job that needs no other."""
        return [self._job(Kind.MERGE, 1.0)]

    def take(self, job: Job, result: Any) -> list[Job]:
        """Take what a job returned, and return the jobs that are due after it."""
        due: list[Job] = []
        if job.kind is Kind.MERGE and not self._totals:
            self._totals = result
            due = [self._job(Kind.VALIDATE, scale) for scale in self._settings.scales] + [self._job(Kind.TEST, 1.0)]
        elif job.kind is Kind.MERGE:
            due = [self._job(Kind.TEST, job.scale)]
        elif job.kind is Kind.VALIDATE:
            self._validation[job.scale] = result
        else:
            self._tested[job.scale] = result
        # The merge at the best scale replaces the one at 1, which no other job may still be reading.
        if not due and 1.0 in self._tested and len(self._validation) == len(self._settings.scales):
            best = self._best()
            if best in self._tested:
                self.result = self._finished(best)
            else:
                due = [self._job(Kind.MERGE, best)]
        return due

    def _best(self) -> float:
        # Among equals the scale nearest to 1 wins: it trusts the validation texts least.
        return min(self._settings.scales, key=lambda scale: (-self._validation[scale], abs(scale - 1.0)))

    def _finished(self, best: float) -> dict[str, Any]:
        return {
            "at_one": self._tested[1.0],
            "at_best": self._tested[best],
            "best_scale": best,
            "validation": {str(scale): self._validation[scale] for scale in self._settings.scales},
            "seconds": self._totals["seconds"],
            "peak_memory": self._totals["peak_memory"],
        }

    def _job(self, kind: Kind, scale: float) -> Job:
        return Job(self._settings, kind, self._entry, scale)
