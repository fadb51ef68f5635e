"""Progress of slow work: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from mergeometry.cli.show import console, duration, plain
from mergeometry.errors import printable

if TYPE_CHECKING:
    from mergeometry.plan import Plan, TensorTask

_SHARE, _APART, _LONGEST = 0.1, 2.0, 30.0
"""A line comes with each such share of the work, seconds apart at least, and after so many seconds at the latest."""
_WIDTH = 48


class Show(Protocol):
    """Takes what is being done and how much of it is; ``item`` and ``count`` are for the eye."""

    def __call__(self, text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
        """Show it."""
        ...


@contextmanager
def progress(start: str, *, hidden: bool, timed: bool) -> Iterator[Show | None]:
    """Give a function that shows progress on standard error; None where it is hidden.

    With ``timed`` what is done and in total is proportional to time, so that the time left is estimated.
    """
    target = console(err=True)
    if hidden:
        yield None
    elif target.is_terminal:
        with _bar(start, target, timed=timed) as show:
            yield show
    else:
        yield Lines(lambda line: typer.echo(line, err=True), timed=timed)


@contextmanager
def merging(plan: Plan, *, hidden: bool) -> Iterator[Callable[[TensorTask], None] | None]:
    """Give a function that shows each tensor as it is finished."""
    work = f"merging, about {duration(sum(task.cost.seconds for task in plan.ordered()))} of work"
    with progress(work, hidden=hidden, timed=True) as show:
        yield None if show is None else tensor_by_tensor(plan, show)


def tensor_by_tensor(plan: Plan, show: Show) -> Callable[[TensorTask], None]:
    """A function that counts finished tensors by their estimated seconds: a few of many often take most of the time."""
    waiting = plan.ordered()
    total, seconds, finished = sum(task.cost.seconds for task in waiting), 0.0, 0

    def advance(task: TensorTask) -> None:
        nonlocal seconds, finished
        seconds, finished = seconds + task.cost.seconds, finished + 1
        show("merging", seconds, total, item=task.name, count=f"{finished}/{len(waiting)}")

    return advance


class Lines:
    """Progress for a log: a line for each tenth of the work, or every half minute where a tenth takes longer."""

    def __init__(self, write: Callable[[str], None], *, timed: bool, clock: Callable[[], float] = time.monotonic):
        self._write, self._timed, self._clock = write, timed, clock
        self._started = self._written = clock()
        self._begun_with = self._done = self._shown = 0.0
        self._total: float | None = None

    def __call__(self, text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
        """Write a line if one is due."""
        now = self._clock()
        new_stage = self._total is not None and (total != self._total or done < self._done)
        # What is done at once was done by an earlier run, and says nothing about the rate.
        if new_stage or now - self._started < 1:
            self._started, self._begun_with = (now if new_stage else self._started), done
        if new_stage:
            self._shown = 0.0
        self._total, self._done = total, done
        since, share = now - self._written, done / total if total else 1.0
        if share < 1 and ((share - self._shown >= _SHARE and since >= _APART) or since >= _LONGEST):
            self._written, self._shown = now, share
            counted = f" ({count})" if count else ""
            self._write(f"{printable(text)}: {100 * share:.0f} %{counted}{self._left(now)}")

    def _left(self, now: float) -> str:
        assert self._total is not None
        done = self._done - self._begun_with
        if not self._timed or done <= 0:
            return ""
        return f", about {duration((self._total - self._done) * (now - self._started) / done)} left"


@contextmanager
def _bar(start: str, target: Any, *, timed: bool) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    last = TimeRemainingColumn() if timed else TimeElapsedColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), last)
    with Progress(*columns, console=target, transient=True) as bar:
        work = bar.add_task(plain(start), total=None, count="")

        def show(text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
            words = f"{plain(text)} {plain(item)[-_WIDTH:]:>{_WIDTH}}" if item else plain(text)
            bar.update(work, description=words, completed=done, total=total, count=count)

        yield show
