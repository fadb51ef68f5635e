"""What the demo is asked to compare, and what its steps cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mergeometry_suite.command import find_task, list_tasks, load_expert
from mergeometry_suite.demo.entries import ENTRIES, SCALES, TEST_TEXTS, VALIDATION_TEXTS, Entry
from mergeometry_suite.demo.work import Job, Kind
from mergeometry_suite.tasks import Task

# Seconds of one core, measured on an AMD EPYC of 2024. They weigh the steps against each other; a run's own pace
# corrects them as soon as its first step is done.
START_SECONDS = 12.0
"""Of a worker: it loads torch and transformers, and reads the texts."""

_MERGE_SECONDS = 4.5  # most of it is starting a process
_TEXT_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which methods are compared, at which scales, on how many texts per task; by default what fits two minutes."""

    entries: tuple[Entry, ...] = ENTRIES
    scales: tuple[float, ...] = SCALES
    validation_texts: int = VALIDATION_TEXTS
    test_texts: int = TEST_TEXTS
    task_names: tuple[str, ...] = tuple(task.name for task in list_tasks())

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks whose experts are merged."""
        return tuple(find_task(name) for name in self.task_names)

    @cached_property
    def texts(self) -> dict[str, int]:
        """Texts of all tasks on which a scale is chosen, and on which accuracy is measured."""
        most = {"validation": self.validation_texts, "test": self.test_texts}
        sizes = [load_expert(name).provenance["data"]["texts"] for name in self.task_names]
        return {split: sum(min(count, size[split]) for size in sizes) for split, count in most.items()}

    def job_texts(self, job: Job) -> int:
        """How many texts a job scores."""
        if job.kind is Kind.MERGE:
            return 0
        return self.texts["validation" if job.kind is Kind.VALIDATE else "test"]

    def job_seconds(self, job: Job) -> float:
        """What a job takes on one core."""
        return _MERGE_SECONDS if job.kind is Kind.MERGE else _TEXT_SECONDS * self.job_texts(job)

    def texts_for(self, entry: Entry | None) -> int:
        """How many texts one row scores at most, or the two ends; a row that is best at scale 1 is tested once."""
        if entry is None:
            return 2 * self.texts["test"]
        return len(self.scales) * self.texts["validation"] + 2 * self.texts["test"]

    @property
    def second_seconds(self) -> float:
        """What the merge at the best scale takes on one core, with its test, where that scale is not 1."""
        return _MERGE_SECONDS + _TEXT_SECONDS * self.texts["test"]

    def seconds_for(self, entry: Entry | None) -> float:
        """What one row takes on one core at most, or the two ends."""
        return (0.0 if entry is None else 2 * _MERGE_SECONDS) + _TEXT_SECONDS * self.texts_for(entry)
