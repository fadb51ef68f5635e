"""What the commands share: errors in plain words with their exit status, sizes, and the terminal."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mergeometry.cli.signals import Terminated
from mergeometry.errors import MergeometryError, printable

if TYPE_CHECKING:
    from rich.console import Console

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

_GRACE = 20
"""Seconds to wait for the launcher to end this process, once the main one has failed and said why."""

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@contextmanager
def plain_errors(debug: bool) -> Iterator[None]:
    """Turn errors into words on standard error and an exit status; a traceback only with ``--debug``."""
    try:
        yield
    except KeyboardInterrupt as error:
        _leave("interrupted", _status(error), debug)
    except MergeometryError as error:
        notes = "".join(f"\n  note: {note}" for note in getattr(error, "__notes__", ()))
        _leave(f"{error}{notes}", _status(error.__cause__), debug)
    except BrokenPipeError:
        # The reader of a pipe is gone, as with `head`: there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except (OSError, MemoryError) as error:
        _leave(f"{type(error).__name__}: {error}", FAILED, debug)


def wrong_usage(text: str) -> NoReturn:
    """Refuse a combination of options that makes no sense."""
    _leave(text, WRONG_USAGE, debug=False)


def console(*, err: bool = False) -> Console:
    """A console that never colours or wraps what is piped into a file."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, width=None if stream.isatty() else 160)


def plain(text: object) -> str:
    """A name as table text: control characters escaped, brackets not read as styles."""
    from rich.markup import escape

    return escape(printable(str(text)))


def size(count: float) -> str:
    """Bytes in words, in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def spoken_for() -> bool:
    """Whether another process of the same launcher speaks for this one, so that each message comes once."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and os.environ.get("RANK", "0") != "0"


def _status(cause: BaseException | None) -> int:
    """The exit status after Ctrl-C, another signal or a failure."""
    if isinstance(cause, Terminated):
        return cause.status
    return INTERRUPTED if isinstance(cause, KeyboardInterrupt) else FAILED


def _leave(text: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    if spoken_for():
        if status == INTERRUPTED:
            raise typer.Exit(status)  # Ctrl-C reaches all of them, and a launcher waits for each
        # Once a process ends, the launcher ends all others: wait, so that the main one can report its error first.
        try:
            time.sleep(_GRACE)
        except KeyboardInterrupt:
            raise typer.Exit(status) from None
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(status)
