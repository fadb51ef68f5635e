"""How far slow work is, in words and by its cost: what a terminal, a log and a notebook show alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mergeometry.errors import printable

if TYPE_CHECKING:
    from mergeometry.plan import Plan, TensorTask

_SHARE, _APART, _LONGEST = 0.1, 2.0, 30.0
"""A line comes with each such share of the work, seconds apart at least, and after so many seconds at the latest.

The time left is not said before there were seconds to measure the rate in."""


class Show(Protocol):
    """Takes what is being done and how much of it is; ``item`` and ``count`` are for the eye."""

    def __call__(self, text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
        """Show it."""
        ...


def tensor_by_tensor(
    plan: Plan, show: Show, text: str = "merging", tasks: Sequence[TensorTask] | None = None
) -> Callable[[TensorTask], None]:
    """A function that counts finished tensors by their estimated seconds: a few of many often take most of the time."""
    waiting = plan.ordered() if tasks is None else tasks
    total, seconds, finished = sum(task.cost.seconds for task in waiting), 0.0, 0

    def advance(task: TensorTask) -> None:
        nonlocal seconds, finished
        seconds, finished = seconds + task.cost.seconds, finished + 1
        show(text, seconds, total, item=task.name, count=f"{finished}/{len(waiting)}")

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
        first = self._total is None
        new_stage = self._total is not None and (total != self._total or done < self._done)
        # What is done at once was done by an earlier run, and the first piece took the start of this one with it:
        # neither says anything about the rate.
        if first or new_stage or now - self._started < 1:
            self._started, self._begun_with = (now if first or new_stage else self._started), done
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
        if not self._timed or done <= 0 or now - self._started < _APART:
            return ""
        return f", {about((self._total - self._done) * (now - self._started) / done)} left"


def about(seconds: float) -> str:
    """Seconds that were estimated, in words."""
    return "under a second" if seconds < 1 else f"about {duration(seconds)}"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
