"""What the commands share: errors in plain words with their exit status, sizes, and the terminal."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mergeometry.cli.signals import Terminated
from mergeometry.cli.streams import Unfailing, forget_output, say
from mergeometry.errors import MergeometryError, MismatchError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from mergeometry.cli.events import Events

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

_GRACE = 20
"""Seconds to wait for the launcher to end this process, once the main one has failed and said why."""

Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@contextmanager
def plain_errors(debug: bool, events: Events | None = None) -> Iterator[None]:
    """Turn errors into words on standard error, or into one of the ``events``, and an exit status.

    A traceback comes only with ``--debug``.
    """
    try:
        yield
    except WrongUsage as error:
        _leave(error, WRONG_USAGE, debug=False, events=events)
    except KeyboardInterrupt as error:
        _leave(MergeometryError("interrupted"), _status(error), debug, events)
    except MergeometryError as error:
        _leave(error, _status(error.__cause__), debug, events)
    except BrokenPipeError:
        # The reader of a pipe is gone, as with `head`: there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except (OSError, MemoryError) as error:
        _leave(MergeometryError(f"{type(error).__name__}: {error}"), FAILED, debug, events)


@contextmanager
def published(output: object) -> Iterator[None]:
    """Say that the output is in its place where what comes after it cannot be printed."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_output()
        what = f"the output is in its place, and whole; standard output cannot be written: {error.strerror}"
        raise MergeometryError(what, file=str(output)) from error


class WrongUsage(MergeometryError):  # noqa: N818  (what a user did)
    """Options that make no sense together."""


def wrong_usage(text: str) -> NoReturn:
    """Refuse a combination of options that makes no sense, within ``plain_errors``."""
    raise WrongUsage(text)


def console(*, err: bool = False) -> Console:
    """A console that never colours or wraps what is piped into a file."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else 160
    file: Any = Unfailing(stream) if err else stream
    return Console(file=file, highlight=False, emoji=False, width=width)


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
    return launched() > 1 and os.environ.get("RANK", "0") != "0"


def _status(cause: BaseException | None) -> int:
    """The exit status after Ctrl-C, another signal or a failure."""
    if isinstance(cause, Terminated):
        return cause.status
    return INTERRUPTED if isinstance(cause, KeyboardInterrupt) else FAILED


def launched() -> int:
    """How many processes a launcher started.

    Raises:
        WrongUsage: what should say so is no number.
    """
    given = os.environ.get("WORLD_SIZE") or "1"
    if not (given.isascii() and given.isdecimal()):
        wrong_usage(f"WORLD_SIZE is {printable(given)!r}, and a launcher sets it to a number: unset it")
    return int(given)


def _leave(error: MergeometryError, status: int, debug: bool, events: Events | None = None) -> NoReturn:
    if debug and events is None:
        traceback.print_exc()
    if status != WRONG_USAGE and spoken_for():
        if status == INTERRUPTED:
            raise typer.Exit(status)  # Ctrl-C reaches all of them, and a launcher waits for each
        # Once a process ends, the launcher ends all others: wait, so that the main one can report its error first.
        try:
            time.sleep(_GRACE)
        except KeyboardInterrupt:
            raise typer.Exit(status) from None
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    if events is None:
        say("\n".join([f"error: {error}", *(f"  note: {note}" for note in notes)]))
    else:
        name = "interrupted" if status not in (FAILED, WRONG_USAGE) else "failed"
        places = {"model": error.model, "file": error.file, "tensor": error.tensor, "hint": error.hint}
        places["traceback"] = traceback.format_exc() if debug else None
        facts = {key: value for key, value in places.items() if value is not None}
        events(name, status=status, error=error.what, **facts, notes=notes, **_reasons(error))
    raise typer.Exit(status)


def _reasons(error: MergeometryError) -> dict[str, list[str]]:
    """Every mismatch of an error that lists many."""
    return {"mismatches": list(error.mismatches)} if isinstance(error, MismatchError) else {}
