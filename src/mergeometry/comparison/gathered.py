"""Errors that are listed together instead of being raised one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mergeometry.errors import MergeometryError


@contextmanager
def gathered(problems: list[str], task: str = "") -> Iterator[None]:
    """Add an error to the problems as one line instead of raising it."""
    try:
        yield
    except MergeometryError as error:
        where = f"task {task!r}: " if task else ""
        file = f" ({error.file})" if error.file else ""
        hint = f"; {error.hint}" if error.hint else ""
        problems.append(f"{where}{error.what}{file}{hint}")
