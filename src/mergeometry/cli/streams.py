"""Standard output and standard error as a shell, a scheduler or a full disk leaves them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def settle_streams() -> None:
    """Make both streams usable: they may be closed, or unable to spell a name."""
    # Python has no stream where the shell closed it, as with `>&-`.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  (as long as the process lives)
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):  # not a stream of Python's own
            # A name that the stream's encoding lacks is spelt by its escapes, and stops nothing.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]


def say(line: str) -> None:
    """Write a line to standard error; what cannot be written is lost, since nothing must stop the work."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class Unfailing:
    """A stream that loses what it cannot write, as when a terminal was closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose it."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def output_in_words() -> Iterator[None]:
    """Say in plain words, with status 1, that standard output cannot be written; for what no command's own code writes.

    Python would try once more at the end, and fail again: what is left is thrown away.
    """
    try:
        yield
    except OSError as error:
        say(f"error: standard output cannot be written: {error.strerror}")
        forget_output()
        sys.exit(1)
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            forget_output()


def forget_output() -> None:
    """Throw away what standard output cannot take, now and when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
