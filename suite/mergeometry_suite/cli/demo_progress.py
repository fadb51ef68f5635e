"""Shows how far the demo is: a bar on a terminal, and now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mergeometry.cli.show import console, plain, size
from mergeometry.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from mergeometry_suite.demo.progress import Progress, Say

_LINE_SECONDS = 10.0
"""Time between two lines where there is no terminal."""


@contextmanager
def shown() -> Iterator[Say]:
    """Give a function that shows progress on standard error."""
    target = console(err=True)
    if not target.is_terminal:
        yield lines(target)
        return
    from rich import progress as rich

    columns = (
        rich.SpinnerColumn(),  # a download does not say how far it is
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=12),
        rich.TextColumn("{task.fields[amount]}"),
        rich.TextColumn("{task.fields[left]}"),
    )
    with rich.Progress(*columns, console=target, transient=True) as bar:
        task = bar.add_task("", amount="", left="")

        def say(now: Progress) -> None:
            amount = _amount(now).replace(" of ", "/")
            bar.update(
                task, description=plain(now.doing), completed=now.done, total=now.total, amount=amount, left=_left(now)
            )

        yield say


def lines(target: Console, clock: Callable[[], float] = time.monotonic) -> Say:
    """Give a function that prints a line at the start and the end, for each package, and else every ten seconds."""
    last = clock() - _LINE_SECONDS

    def say(now: Progress) -> None:
        nonlocal last
        time_now = clock()
        if now.unit == "bytes" or now.done in (0, now.total) or time_now - last >= _LINE_SECONDS:
            last = time_now
            words = ", ".join(part for part in (now.doing, _amount(now), _left(now)) if part)
            target.print(plain(words), soft_wrap=True)

    return say


def _amount(now: Progress) -> str:
    if now.unit == "bytes":
        return f"{size(now.done)} of {size(now.total)}"
    return f"{now.done:,} of {now.total:,} {now.unit}"


def _left(now: Progress) -> str:
    return "" if now.seconds_left is None else f"about {duration(round(now.seconds_left))} left"
