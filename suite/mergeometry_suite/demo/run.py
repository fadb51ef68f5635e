"""Carries out the demo: every method's row computed side by side, then one leaderboard."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from mergeometry.comparison.gain import score
from mergeometry.comparison.store import Store
from mergeometry.execution.threads import ENVIRONMENT
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks
from mergeometry_suite.demo import work
from mergeometry_suite.demo.entries import ENTRIES, SCALES, TEST_TEXTS, VALIDATION_TEXTS, Entry
from mergeometry_suite.demo.leaderboard import Leaderboard, Row, rank
from mergeometry_suite.demo.store import identity_of
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
    store = Store(output / "results", identity_of(tasks, [list(counts), list(SCALES)]))
    settings = work.Settings(output.resolve(), base, tasks, *counts)
    found: dict[str, Any] = {}
    for name, result in _results(settings, store, workers or os.cpu_count() or 1):
        found[name] = result
        say(f"{name} is scored" if name != ENDS else "the base and the experts are scored", len(found) + 1, steps)
    ends = found.pop(ENDS)
    rows = [(_row(name, result, ends), result["at_best"]) for name, result in found.items()]
    return Leaderboard(
        tasks=tasks,
        texts=texts,
        base={task: _share(correct) for task, correct in ends["base"].items()},
        experts={task: _share(correct) for task, correct in ends["experts"].items()},
        rows=rank(rows, ends["base"], ends["experts"]),
        seconds=time.perf_counter() - started,
    )


def _results(settings: work.Settings, store: Store, workers: int) -> Iterator[tuple[str, Any]]:
    """Results as they are ready: those kept from earlier runs first."""
    wanted: dict[str, Entry | None] = {ENDS: None, **{entry.name: entry for entry in ENTRIES}}
    for name in list(wanted):
        kept = store.read(_stem(name))
        if kept is not None and (name == ENDS or (settings.output / "merged" / _stem(name)).is_dir()):
            del wanted[name]
            yield name, kept
    if not wanted:
        return
    from loky.process_executor import ProcessPoolExecutor  # noqa: PLC0415

    executor = ProcessPoolExecutor(max_workers=min(workers, len(wanted)), env=dict(ENVIRONMENT))
    finished = False
    try:
        running: dict[Any, str] = {
            executor.submit(work.ends, settings) if entry is None else executor.submit(work.row, settings, entry): name
            for name, entry in wanted.items()
        }
        for future in as_completed(running):
            name, result = running[future], future.result()
            store.write(_stem(name), result)
            yield name, result
        finished = True
    finally:
        executor.shutdown(wait=True, kill_workers=not finished)


def _stem(name: str) -> str:
    return name.replace(" ", "-")


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
