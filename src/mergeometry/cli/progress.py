"""Progress of slow work: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mergeometry.cli.events import Tensors
from mergeometry.cli.show import console
from mergeometry.cli.streams import say
from mergeometry.errors import printable
from mergeometry.progress import Lines, Show, about, tensor_by_tensor

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.plan import Plan, TensorTask

_WIDTH = 48


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
        yield Lines(say, timed=timed)


@contextmanager
def merging(plan: Plan, *, hidden: bool, events: Events | None = None) -> Iterator[Callable[[TensorTask], None] | None]:
    """Give a function that shows each tensor as it is finished, or writes it to the ``events``."""
    if events is not None:
        yield Tensors(plan, events)
        return
    work = f"merging, {about(sum(task.cost.seconds for task in plan.ordered()))} of work"
    with progress(work, hidden=hidden, timed=True) as show:
        yield None if show is None else tensor_by_tensor(plan, show)


@contextmanager
def _bar(start: str, target: Any, *, timed: bool) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    last = TimeRemainingColumn() if timed else TimeElapsedColumn()
    words, count = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[count]}"))
    columns = (words, BarColumn(), count, last)
    with Progress(*columns, console=target, transient=True) as bar:
        work = bar.add_task(printable(start), total=None, count="")

        def show(text: str, done: float, total: float, *, item: str = "", count: str = "") -> None:
            words = f"{printable(text)} {printable(item)[-_WIDTH:]:>{_WIDTH}}" if item else printable(text)
            bar.update(work, description=words, completed=done, total=total, count=count)

        yield show
