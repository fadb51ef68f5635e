"""Shows a search before a merge, what it chose, and in a plan what it will take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from mergeometry.cli.events import Steps, telling
from mergeometry.cli.progress import Show, progress
from mergeometry.cli.show import console, plain, size
from mergeometry.grouping import grouped
from mergeometry.progress import about
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.cli.run_options import RunOptions
    from mergeometry.execution.executor import Executor
    from mergeometry.plan import Plan


@contextmanager
def searching(
    plan: Plan, run: RunOptions, events: Events | None, *, hidden: bool, executor: Executor
) -> Iterator[Plan]:
    """Give the plan that a search leads to, or the plan itself where its recipe leaves nothing open."""
    if not plan.recipe.is_open:
        yield plan
        return
    from mergeometry.search.run import searched

    assert run.output is not None
    with ExitStack() as stack:
        with progress("reading the tasks", hidden=hidden, timed=False) as show:
            say = None if show is None else partial(_say, show)
            chosen = stack.enter_context(
                searched(
                    plan, run.output, workers=run.workers, overwrite=run.overwrite, resume=run.resume,
                    say=say if events is None else Steps(events, "scored"), memory_limit=run.memory_limit,
                    tell=telling(events, hidden=hidden), executor=executor, directions=run.directions_folder,
                )
            )  # fmt: skip
        yield chosen


def searched_lines(search: Mapping[str, Any]) -> str:
    """What was chosen from how many, and how it scores, in one line or two."""
    if "trials" in search:
        return _of_trials(search)
    scores, chosen = search["validation"], search["scale"]
    at_one = f"{_figure(search, scores['1'])} at 1, " if "1" in scores and chosen != 1 else ""
    equal = f"; {counted(len(search['equal']), 'larger scale')} scored the same" if search["equal"] else ""
    return (
        f"scale {chosen:g}, the best of {len(scores)} by {search['measure']} on validation inputs: "
        f"{_figure(search, scores[f'{chosen:.10g}'])}, {at_one}{_figure(search, search['base'])} for the base{equal}"
    )


def _of_trials(search: Mapping[str, Any]) -> str:
    trials, chosen = search["trials"], search["chosen"]
    start, best = (_figure(search, trials[place]["score"]) for place in (0, chosen))
    ends = f"the base {_figure(search, search['base'])}, the experts {_figure(search, search['experts'])}"
    by = f"by {search['measure']} on validation inputs"
    said = (
        f"trial {chosen + 1} of {len(trials)} is the best {by}: {best}, as the recipe is written {start}; {ends}"
        if chosen
        else f"none of {len(trials)} trials beats the recipe as it is written {by}, so it is kept: {best}; {ends}"
    )
    if "test" not in search:
        return said
    start, best = (_figure(search, search["test"][key]) for key in ("start", "chosen"))
    return f"{said}\non test inputs {best}" + (f", as the recipe is written {start}" if chosen else "")


def print_searching(estimates: Mapping[str, Any]) -> None:
    """Print what a search will take, where the recipe asks for one."""
    if "search" not in estimates:
        return
    estimate, target = estimates["search"], console()
    inputs = estimate["inputs"]
    for note in grouped(estimate["notes"]):
        target.print(f"note: {plain(note)}")
    target.print(
        f"before the merge, {_planned(estimate)} on {sum(inputs.values()):,} inputs of "
        f"{counted(len(inputs), 'task')}: "
        f"{about(estimate['seconds'])}, {size(estimate['memory_bytes'])} of memory and "
        f"{size(estimate['scratch_bytes'])} of scratch space next to the output",
        soft_wrap=True,
    )


def _planned(estimate: Mapping[str, Any]) -> str:
    if "trials" in estimate:
        return (
            f"about {counted(estimate['trials'], 'trial')} of {counted(len(estimate['parameters']), 'number')} "
            "are scored, and the best is taken,"
        )
    scales = estimate["scales"]
    ends = f"{scales[0]:g} to {scales[-1]:g}"
    return f"validation chooses the scale from {len(scales)}, {ends} (the table shows 1),"


def _figure(search: Mapping[str, Any], value: float) -> str:
    return f"{100 * value:.1f} %" if search["measure"] == "accuracy" else f"{value:.4g}"


def _say(show: Show, text: str, done: int, total: int) -> None:
    show(text[-56:], done, total, count=f"{done}/{total}")
