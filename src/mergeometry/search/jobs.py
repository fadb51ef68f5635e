"""Merges and scores one trial after another: what two trials merge alike is merged once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from mergeometry.comparison.attach_moments import attach_moments
from mergeometry.comparison.dry_run import peak_memory
from mergeometry.comparison.merging import MergedTensor, MergeJob, alike, merge_jobs
from mergeometry.comparison.read_inputs import VALIDATION
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.scoring import (
    Scored,
    ScoreJob,
    carry_out,
    fixes_scale,
    merged_delta,
    settings_of,
)
from mergeometry.comparison.scratch import Stored, create
from mergeometry.comparison.setup import Setup
from mergeometry.execution.executor import LOCAL, Demands, Executor
from mergeometry.execution.identity import files_read
from mergeometry.execution.noting import summed
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.scratch import scratch_folder
from mergeometry.execution.workers import MemoryLimit, workers_within
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask

Say = Callable[[str, int, int], None]
"""Called with what was finished, the number of finished steps and the total, 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One merge to score: a plan at its own scales, or at one ``scale`` wherever the recipe fixes none."""

    key: str
    text: str
    """What it is, in a few words."""
    plan: Plan
    scale: float | None = None
    split: str = VALIDATION


class Proposals(Protocol):
    """What to try next, by what is known so far."""

    def next(self) -> Trial | None:
        """Another trial; None if there is none before more scores are known, or none at all."""
        ...

    def take(self, trial: Trial, scored: Scored) -> None:
        """Hear the scores of a trial."""
        ...


def run_trials(
    setup: Setup,
    cache: ResultCache,
    proposals: Proposals,
    target: Path,
    seconds: float,
    *,
    ends: Sequence[ScoreJob] = (),
    prefix: str,
    workers: int | None = None,
    say: Say,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
) -> tuple[str, ...]:
    """Score every trial that the proposals make, and the ``ends`` between which they lie; return notes on the merges.

    Merged task vectors are kept in a folder beside the ``target``, whose name begins with ``prefix``; scores are kept
    in the cache as soon as they are known. ``seconds`` is a rough estimate of the work on one core.

    Raises:
        RecipeError: fewer than one worker is asked for, or there is too little memory.
        MergeometryError: an input changed, a value is not finite, a method fails, or the disk is full.
    """
    workers = workers_within(
        workers, seconds, partial(peak_memory, setup), memory_limit=memory_limit, executor=executor
    )
    needed = peak_memory(setup, 1)
    demands = Demands[MergeJob | ScoreJob](
        name=lambda job: job.name if isinstance(job, MergeJob) else job.key,
        memory=lambda _: needed,
        writes=lambda job: {one.place.file for one in job.variants} if isinstance(job, MergeJob) else (),
    )
    with (
        scratch_folder(target.parent, prefix) as folder,
        executor.sharing(folder / "token", files_read(setup.plans[0])) as checked,
    ):
        jobs = _Jobs(setup, cache, proposals, ends, folder, say, checked)
        with closing(side_by_side(carry_out, jobs.waiting, workers, checked, demands)) as finished:
            for job, result in finished:
                jobs.take(job, result)
    return summed(jobs.notes)


@dataclass(slots=True)
class _Merged:
    """What the trials that are scored now have in common: the merged task vectors of one plan."""

    plan: Plan
    tasks: dict[str, TensorTask] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)


class _Jobs:
    """The jobs that can run now: merges of what a trial has not in common with the last, then its scores."""

    def __init__(
        self,
        setup: Setup,
        cache: ResultCache,
        proposals: Proposals,
        ends: Sequence[ScoreJob],
        folder: Path,
        say: Say,
        executor: Executor,
    ) -> None:
        self._setup, self._cache, self._proposals = setup, cache, proposals
        self._folder, self._say, self._executor = folder, say, executor
        self._settings = settings_of(setup, cache.identity)
        self.waiting: deque[MergeJob | ScoreJob] = deque(ends)
        self._merged: _Merged | None = None
        self._merging: set[str] = set()
        self._blocked: list[Trial] = []
        self._scoring: dict[str, Trial] = {}
        self._done = self._total = 0
        self.notes: list[str] = []
        """What is to be told of the merges."""
        self._fill()

    def take(self, job: MergeJob | ScoreJob, result: MergedTensor | Scored) -> None:
        """Keep a result, and queue the jobs that it makes possible."""
        if isinstance(job, MergeJob) and isinstance(result, MergedTensor):
            assert self._merged is not None
            self._merged.stored[job.name] = result.stored[0]
            self.notes += result.notes
            self._merging.discard(job.name)
            self._told(f"merging {job.name}")
            if not self._merging:
                blocked, self._blocked = self._blocked, []
                for trial in blocked:
                    self._score(trial)
        elif isinstance(job, ScoreJob) and isinstance(result, Scored):
            self._cache.keep(job.key, result.to_json())
            trial = self._scoring.pop(job.key, None)
            self._told("the base" if trial is None else trial.text)
            if trial is not None:
                self._proposals.take(trial, result)
                self._fill()

    def _told(self, text: str) -> None:
        self._done += 1
        self._say(text, self._done, max(self._total, self._done))

    def _fill(self) -> None:
        while (trial := self._proposals.next()) is not None:
            if self._cache.has(trial.key):
                self._proposals.take(trial, self._cache.scored(trial.key))
                continue
            self._total += 1
            if self._merged is None or trial.plan is not self._merged.plan:
                self._merge(trial.plan)
            if self._merging:
                self._blocked.append(trial)
            else:
                self._score(trial)

    def _merge(self, plan: Plan) -> None:
        """Queue the merge of what the plan does not have in common with the last one, whose trials are all scored."""
        assert not self._scoring and not self._blocked
        place = self._folder / "data"
        place.mkdir(exist_ok=True)
        informed = attach_moments(self._setup, [plan], place, self._say, self._executor)[0].plan
        jobs, sizes = merge_jobs([informed], self._folder, directions=self._setup.directions)
        if self._merged is None:
            create(sizes)
        known = {} if self._merged is None else self._merged.tasks
        tasks = {job.name: job.variants[0].task for job in jobs}
        merged = _Merged(plan, tasks)
        for job in jobs:
            if job.name in known and alike(tasks[job.name], known[job.name]):
                assert self._merged is not None
                merged.stored[job.name] = self._merged.stored[job.name]
            else:
                self._merging.add(job.name)
                self._total += 1
                self.waiting.append(job)
        self._merged = merged

    def _score(self, trial: Trial) -> None:
        assert self._merged is not None
        base, recipe = self._setup.plans[0].base, trial.plan.recipe
        merged = []
        for name, stored in self._merged.stored.items():
            task = self._merged.tasks[name]
            own = task.scale if trial.scale is None or fixes_scale(recipe, task.base.name) else None
            merged.append((name, merged_delta(base, task, stored, own)))
        self._scoring[trial.key] = trial
        self.waiting.append(
            ScoreJob(
                trial.key, self._settings, trial.split, tuple(self._setup.splits[trial.split]), entry=0,
                scale=trial.scale or 1.0, scale_text=trial.text, merged=tuple(merged),
            )
        )  # fmt: skip
