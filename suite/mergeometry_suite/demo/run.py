"""Carries out the demo: steps of all rows computed in worker processes, then one leaderboard."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from typing import Any

from mergeometry.comparison.gain import score
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.workers import worker_count
from mergeometry_suite.backbone import backbone
from mergeometry_suite.demo import work
from mergeometry_suite.demo.agenda import Agenda, row_name
from mergeometry_suite.demo.choice import START_SECONDS
from mergeometry_suite.demo.leaderboard import Leaderboard, Row, difference, rank
from mergeometry_suite.demo.progress import Pace, Progress, Say
from mergeometry_suite.demo.rows import ENDS, Ends, RowSteps
from mergeometry_suite.packages import fetch


def run_demo(agenda: Agenda, say: Say, *, workers: int | None = None) -> Leaderboard:
    """Merge the suite's experts by each chosen method and score the results; finished rows stay in the output.

    Raises:
        DataError: a package cannot be fetched, or an expert is missing.
        RecipeError: fewer than one worker.
        ExecutionError: a merge failed.
    """
    started = time.perf_counter()
    count = worker_count(workers)
    _fetch(agenda, say)
    results = {**agenda.kept, **_compute(agenda, count, say)}
    ends, choice = results[ENDS], agenda.choice
    # In the order of the entries, so that which one was finished first does not choose among equals.
    rows = [
        (_row(entry.name, result, ends), result["at_one"], result["at_best"])
        for entry, result in ((entry, results[entry.name]) for entry in choice.entries)
    ]
    return Leaderboard(
        tasks=choice.task_names,
        texts=choice.texts,
        base={task: _share(correct) for task, correct in ends["base"].items()},
        experts={task: _share(correct) for task, correct in ends["experts"].items()},
        rows=rank(rows, ends["base"], ends["experts"]),
        seconds=time.perf_counter() - started,
        above_base=difference(ends["experts"], ends["base"]),
    )


def _fetch(agenda: Agenda, say: Say) -> None:
    """Fetch what the cache lacks here, so that no two workers fetch the same package."""
    done = 0
    for package in agenda.packages:
        say(Progress(f"fetching {package.requirement}", done, agenda.fetched_bytes, "bytes"))
        fetch(package)
        done += package.size or 0
    if agenda.packages:
        say(Progress("fetched and unpacked", done, agenda.fetched_bytes, "bytes"))


def _compute(agenda: Agenda, workers: int, say: Say) -> dict[str, Any]:
    """The results that are due, each kept as soon as it is known."""
    if not agenda.due:
        return {}
    choice, output = agenda.choice, agenda.output.resolve()
    settings = work.Settings(
        output, backbone(), choice.task_names, choice.validation_texts, choice.test_texts, choice.scales
    )
    rows = {row_name(entry): Ends(settings) if entry is None else RowSteps(settings, entry) for entry in agenda.due}
    pace = Pace(agenda.seconds(workers), START_SECONDS)
    done, total = 0, agenda.texts
    say(Progress("loading the encoder and the texts", done, total, "texts", pace.seconds_left()))
    waiting = deque(job for row in rows.values() for job in row.first())
    results: dict[str, Any] = {}
    with closing(side_by_side(work.carry_out, waiting, workers)) as finished:
        for job, result in finished:
            name = row_name(job.entry)
            row = rows[name]
            # What a row still needs comes before the next row, so that finished rows are kept early.
            waiting.extendleft(reversed(row.take(job, result)))
            done += choice.job_texts(job)
            pace.finish(choice.job_seconds(job) / workers)
            if row.result is not None:
                agenda.stores[name].write(work.file_name(name), row.result)
                results[name] = row.result
                if row.result.get("best_scale") == 1.0:
                    total -= choice.texts["test"]
                    pace.spare(choice.second_seconds / workers)
            say(Progress(work.words(job), done, total, "texts", pace.seconds_left()))
    return results


def _row(name: str, result: dict[str, Any], ends: dict[str, Any]) -> Row:
    return Row(
        name=name,
        at_one=score(result["at_one"], ends["base"], ends["experts"]),
        at_best=score(result["at_best"], ends["base"], ends["experts"]),
        best_scale=result["best_scale"],
        validation=result["validation"],
        seconds=result["seconds"],
        peak_memory=result["peak_memory"],
    )


def _share(correct: list[bool]) -> float:
    return sum(correct) / len(correct)
