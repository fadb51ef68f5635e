"""Carries out the demo: every method's row computed side by side, then one leaderboard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from mergeometry.comparison.gain import score
from mergeometry.comparison.store import Store
from mergeometry.execution.pool import side_by_side, worker_count
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks
from mergeometry_suite.demo import work
from mergeometry_suite.demo.entries import ENTRIES, SCALES, TEST_TEXTS, VALIDATION_TEXTS, Entry
from mergeometry_suite.demo.leaderboard import Leaderboard, Row, rank
from mergeometry_suite.demo.store import identities_of
from mergeometry_suite.tasks import load

ENDS = "ends"


def run_demo(
    output: Path,
    say: Callable[[str, int, int], None],
    *,
    workers: int | None = None,
    counts: tuple[int, int] = (VALIDATION_TEXTS, TEST_TEXTS),
) -> Leaderboard:
    """Merge the suite's experts by every method and score the results; finished rows stay in ``output``.

    ``say`` is told what was finished, of how many steps. ``counts`` is how many texts a task the scale is chosen
    on and the accuracy is measured on, as far as there are so many; by default as many as fit a few minutes.

    Raises:
        DataError: a package cannot be fetched, or an expert is missing.
        RecipeError: fewer than one worker.
        ExecutionError: a merge failed.
    """
    started = time.perf_counter()
    steps = len(ENTRIES) + 2
    say("fetching the backbone and the tasks", 0, steps)
    base = backbone(lambda text: say(text, 0, steps))
    tasks = tuple(task.name for task in list_tasks())
    texts = {"validation": 0, "test": 0}
    for task in tasks:
        # Loaded here once, so that no two workers fetch the same package.
        splits = load(task)
        texts["validation"] += len(splits.validation.take(counts[0]).texts)
        texts["test"] += len(splits.test.take(counts[1]).texts)
    settings = work.Settings(output.resolve(), base, tasks, *counts)
    found: dict[str, Any] = {}
    with closing(_results(settings, worker_count(workers))) as results:
        for name, result in results:
            found[name] = result
            say(f"{name} is scored" if name != ENDS else "the base and the experts are scored", len(found) + 1, steps)
    ends = found.pop(ENDS)
    # In the order of the entries, so that which one was finished first does not choose among equals.
    rows = [(_row(entry.name, found[entry.name], ends), found[entry.name]["at_best"]) for entry in ENTRIES]
    return Leaderboard(
        tasks=tasks,
        texts=texts,
        base={task: _share(correct) for task, correct in ends["base"].items()},
        experts={task: _share(correct) for task, correct in ends["experts"].items()},
        rows=rank(rows, ends["base"], ends["experts"]),
        seconds=time.perf_counter() - started,
    )


def _results(settings: work.Settings, workers: int) -> Generator[tuple[str, Any]]:
    """Results as they are ready: those kept from earlier runs first."""
    entries: list[Entry | None] = [None, *ENTRIES]
    asked = [settings.validation_texts, settings.test_texts, list(SCALES)]
    stores: dict[str, Store] = {}
    waiting = deque[work.Job]()
    for entry, identity in zip(entries, identities_of(settings.tasks, asked, entries), strict=True):
        store = stores[_name(entry)] = Store(settings.output / "results", identity)
        kept = store.read(_stem(entry))
        if kept is not None and (entry is None or (settings.output / "merged" / _stem(entry)).is_dir()):
            yield _name(entry), kept
        else:
            waiting.append(work.Job(settings, entry))
    with closing(side_by_side(work.carry_out, waiting, min(workers, len(waiting)))) as finished:
        for job, result in finished:
            stores[_name(job.entry)].write(_stem(job.entry), result)
            yield _name(job.entry), result


def _name(entry: Entry | None) -> str:
    return ENDS if entry is None else entry.name


def _stem(entry: Entry | None) -> str:
    return _name(entry).replace(" ", "-")


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
