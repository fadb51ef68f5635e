"""The options that say what opening a model may do, shared by all commands that open models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.events import Steps
from mergeometry.cli.progress import progress
from mergeometry.cli.show import size

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.progress import Show
    from mergeometry.sources.access import Access

_PANEL = "Where models come from"


@dataclass(frozen=True)
class AccessOptions:
    """What opening a model may do besides reading local files."""

    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Take models of the hub from its cache alone, as HF_HUB_OFFLINE=1.",
            rich_help_panel=_PANEL,
        ),
    ] = False
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Convert pickled weights (.bin, .pt, .pth) of people whom you trust, in a process of its own.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    @property
    def access(self) -> Access:
        """What is allowed."""
        from mergeometry.sources.access import Access

        return Access(offline=self.offline, allow_pickle=self.allow_pickle)


@contextmanager
def fetching(*, hidden: bool, events: Events | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows how much of the models is fetched; nothing is shown where nothing is."""
    if events is not None:
        yield Steps(events, "fetching").nbytes
        return
    with ExitStack() as stack:
        shown: list[Show | None] = []

        def show(name: str, done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(progress("fetching", hidden=hidden, timed=True)))
            if shown[0] is not None:
                shown[0]("fetching", done, total, item=name, count=f"{size(done)} of {size(total)}")

        yield show
