"""Runs a comparison: all merges into scratch files, then every method at every scale, then one result."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mergeometry.comparison.attach_moments import attach_moments
from mergeometry.comparison.dry_run import core_seconds, peak_memory
from mergeometry.comparison.merging import MergedTensor, MergeJob, merge_jobs
from mergeometry.comparison.own_folder import RESULTS, SCRATCH, refuse_foreign_folder
from mergeometry.comparison.read_inputs import TEST, VALIDATION
from mergeometry.comparison.result import Comparison
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.rules import needs_of
from mergeometry.comparison.scoring import (
    MergedDelta,
    Scored,
    ScoreJob,
    carry_out,
    fixes_scale,
    merged_delta,
    settings_of,
)
from mergeometry.comparison.scratch import create
from mergeometry.comparison.setup import Setup
from mergeometry.comparison.table import table_of, tested_at
from mergeometry.execution.devices import gpus_of
from mergeometry.execution.directions_folder import refuse_unusable
from mergeometry.execution.executor import LOCAL, Demands, Executor
from mergeometry.execution.identity import files_read
from mergeometry.execution.noting import summed
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.scratch import scratch_folder
from mergeometry.execution.workers import MemoryLimit, workers_within
from mergeometry.recipe.scale import ScaleRule

Say = Callable[[str, int, int], None]
"""Called with what was finished, the number of finished steps and the total."""


def run_comparison(
    setup: Setup,
    output: Path,
    scales: Sequence[float],
    *,
    rules: Sequence[ScaleRule] = (),
    workers: int | None = None,
    say: Say | None = None,
    memory_limit: MemoryLimit = None,
    executor: Executor = LOCAL,
) -> Comparison:
    """Merge by every entry, compute the scores that ``output`` does not hold yet, and assemble the result.

    Task vectors are merged into scratch files in ``output``, which are removed afterwards. ``workers`` is the number
    of processes, by default one per core, or none for a short comparison; it does not change a figure. Scale ``rules``
    are scored along with the validated scale.

    Raises:
        RecipeError: fewer than one worker is asked for.
        OutputError: the output holds files that no comparison wrote, or lies in an input's folder.
        MergeometryError: an input changed, a value is not finite, a method fails, or the disk is full.
    """
    started = time.perf_counter()
    if setup.device != "cpu" and workers is None:
        workers = gpus_of(executor)
    workers = workers_within(
        workers, core_seconds(setup, scales), partial(peak_memory, setup), memory_limit=memory_limit, executor=executor
    )
    refuse_foreign_folder(output, setup.plans[0].inputs)
    refuse_unusable(setup.directions, setup.plans[0], output)
    output.mkdir(parents=True, exist_ok=True)
    cache = ResultCache(setup, output / RESULTS)
    needed = peak_memory(setup, 1)
    demands = Demands[MergeJob | ScoreJob](
        name=_name, memory=lambda _: needed, gpu=lambda _: int(setup.device != "cpu"), writes=_written
    )
    with (
        scratch_folder(output, SCRATCH) as folder,
        executor.sharing(folder / "token", files_read(setup.plans[0])) as checked,
    ):
        jobs = _Jobs(setup, cache, tuple(scales), tuple(rules), folder, say or _silent, checked)
        with closing(side_by_side(carry_out, jobs.waiting, workers, checked, demands)) as finished:
            for job, result in finished:
                jobs.take(job, result)
    found = table_of(setup, cache, tuple(scales), tuple(rules), time.perf_counter() - started, jobs.peak_memory)
    return replace(found, notes=(*found.notes, *summed(jobs.merging_notes)))


def _silent(text: str, done: int, total: int) -> None:
    del text, done, total


def _name(job: MergeJob | ScoreJob) -> str:
    return job.name if isinstance(job, MergeJob) else job.key


def _written(job: MergeJob | ScoreJob) -> Collection[Path]:
    return {variant.place.file for variant in job.variants} if isinstance(job, MergeJob) else ()


class _Jobs:
    """The jobs of a comparison that can run now: merges first, then base and experts, then entry by entry."""

    def __init__(
        self,
        setup: Setup,
        cache: ResultCache,
        scales: tuple[float, ...],
        rules: tuple[ScaleRule, ...],
        folder: Path,
        say: Say,
        executor: Executor,
    ) -> None:
        self._setup, self._cache, self._scales, self._rules, self._say = setup, cache, scales, rules, say
        self._settings = settings_of(setup, cache.identity)
        self._todo = [entry for entry in range(len(setup.entries)) if self._missing(entry)]
        informed = attach_moments(setup, [setup.plans[entry] for entry in self._todo], folder, self._say, executor)
        self._notes = [one.notes for one in informed]
        needs = needs_of(rules) if rules else None
        jobs, self._sizes = (
            merge_jobs([one.plan for one in informed], folder, needs, setup.device, setup.directions)
            if self._todo
            else ([], {})
        )
        create(self._sizes)
        self._merging = len(jobs)
        self.waiting: deque[MergeJob | ScoreJob] = deque(jobs)
        self._merged: list[list[tuple[str, MergedDelta]]] = [[] for _ in self._todo]
        self._seconds = [one.seconds for one in informed]
        self._measured: list[dict[str, Any]] = [{} for _ in self._todo]
        self._running: dict[int, set[str]] = {}
        self._done = 0
        self.peak_memory = 0
        self.merging_notes: list[str] = []
        """What is to be told of this run's merges alone."""
        models = len(setup.plans[0].models)
        self._total = len(jobs) + 2 + 2 * models + len(self._todo) * (len(scales) + 2 + len(rules))
        if not jobs:
            self._start_scoring()

    def take(self, job: MergeJob | ScoreJob, result: MergedTensor | Scored) -> None:
        """Keep a result, and queue the jobs that it makes possible."""
        self.peak_memory = max(self.peak_memory, result.peak_memory)
        self._done += 1
        if isinstance(job, MergeJob) and isinstance(result, MergedTensor):
            self._take_merged(job, result)
        elif isinstance(job, ScoreJob) and isinstance(result, Scored):
            self._cache.keep(job.key, result.to_json())
            if job.entry is None:
                self._say("the base and the experts", self._done, self._total)
            else:
                name = self._setup.entries[job.entry].name
                self._say(f"{name} at {job.scale_text} on {job.split} inputs", self._done, self._total)
                self._running[job.entry].discard(job.key)
                self._advance(job.entry)

    def _take_merged(self, job: MergeJob, result: MergedTensor) -> None:
        self.merging_notes += result.notes
        for place, (variant, stored) in enumerate(zip(job.variants, result.stored, strict=True)):
            task = variant.task
            for user in variant.users:
                plan = self._setup.plans[self._todo[user]]
                fixed = task.scale if fixes_scale(plan.recipe, task.base.name) else None
                delta = merged_delta(plan.base, task, stored, fixed)
                self._merged[user].append((job.name, delta))
                self._seconds[user] += result.seconds[place]
                if result.statistics and fixed is None:
                    self._measured[user][job.name] = [task.kind == "matrix", result.statistics[place].to_json()]
        self._say(f"merging {job.name}", self._done, self._total)
        if self._done == self._merging:
            for user, entry in enumerate(self._todo):
                if not self._cache.has(key := self._cache.merging(entry)):
                    self._cache.keep(key, {"seconds": self._seconds[user], "notes": self._notes[user]})
                if self._rules:
                    self._cache.keep(self._cache.statistics(entry, needs_of(self._rules)), self._measured[user])
            self._start_scoring()

    def _start_scoring(self) -> None:
        setup, cache = self._setup, self._cache
        everything = tuple(task.name for task in setup.tasks.tasks)
        for split, tasks in ((VALIDATION, setup.seen), (TEST, everything)):
            self._add(ScoreJob(cache.base(split), self._settings, split, tasks))
            for place, model in enumerate(setup.plans[0].models):
                if model.label in setup.seen:
                    key = cache.expert(place, split)
                    self._add(ScoreJob(key, self._settings, split, (model.label,), expert=place))
        for entry in self._todo:
            self._running[entry] = set()
            for scale in self._scales:
                self._add(self._point(entry, scale, VALIDATION))
        for entry in self._todo:
            self._advance(entry)

    def _advance(self, entry: int) -> None:
        """Once validation has chosen an entry's scale, test it; once it is tested, remove its files."""
        if self._running[entry]:
            return
        missing = self._missing(entry)
        for at in missing:
            self._add(self._point(entry, at, TEST), first=True)
        if not missing:
            self._free(entry)

    def _missing(self, entry: int) -> list[float | Mapping[str, float]]:
        """Scales that are not tested yet, or all while validation results or the rules' statistics are missing."""
        cache, scales = self._cache, self._scales
        if not all(cache.has(cache.point(entry, scale, VALIDATION)) for scale in scales):
            return list(scales)
        if self._rules and not cache.has(cache.statistics(entry, needs_of(self._rules))):
            return list(scales)
        wanted = tested_at(self._setup, cache, entry, scales, self._rules)
        return list({key: at for at in wanted if not cache.has(key := cache.ruled(entry, at))}.values())

    def _point(self, entry: int, at: float | Mapping[str, float], split: str) -> ScoreJob:
        """A merge at one scale, or at one per tensor for which the recipe gives no scale."""
        tasks = self._setup.seen if split == VALIDATION else tuple(task.name for task in self._setup.tasks.tasks)
        merged = tuple(self._merged[self._todo.index(entry)])
        if isinstance(at, Mapping):
            merged = tuple((name, replace(delta, scale=at.get(name, delta.scale))) for name, delta in merged)
            key, scale_text = self._cache.ruled(entry, at), "scales by a rule"
            return ScoreJob(key, self._settings, split, tasks, entry=entry, scale_text=scale_text, merged=merged)
        key = self._cache.point(entry, at, split)
        return ScoreJob(key, self._settings, split, tasks, entry=entry, scale=at, scale_text=f"{at:g}", merged=merged)

    def _add(self, job: ScoreJob, *, first: bool = False) -> None:
        if self._cache.has(job.key):
            self._done += 1
            return
        if job.entry is not None:
            self._running[job.entry].add(job.key)
        self.waiting.appendleft(job) if first else self.waiting.append(job)

    def _free(self, entry: int) -> None:
        """Remove the scratch files that no unfinished entry uses."""
        self._running.pop(entry, None)
        place = self._todo.index(entry)
        self._merged[place] = []
        used = {delta.stored.place.file for merged in self._merged for _, delta in merged}
        for file in [file for file in self._sizes if file not in used]:
            file.unlink(missing_ok=True)
            del self._sizes[file]
