"""A progress bar over slow steps; nothing where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mergeometry.cli.show import console, plain


@contextmanager
def steps(*, hidden: bool = False) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give a function that takes the step that finished, the number of steps done, and the total; None where hidden."""
    target = console(err=True)
    if hidden or not target.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=target, transient=True) as progress:
        work = progress.add_task("starting")

        def say(text: str, done: int, total: int) -> None:
            progress.update(work, description=plain(text)[-56:], completed=done, total=total)

        yield say
