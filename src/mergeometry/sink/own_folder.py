"""A folder that a command writes pages into: one that is new, empty, or that the same command filled earlier."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import OutputError, printable
from mergeometry.regular_files import read_regular

_SHOWN = 10


def refuse_foreign_folder(
    output: Path, inputs: Sequence[Path], foreign: Callable[[Path], Iterable[str]], noun: str
) -> None:
    """Refuse a folder whose files somebody else wrote, or that is part of an input.

    ``foreign`` names what is in an existing folder and was not written by a ``noun``, such as "comparison".

    Raises:
        OutputError: it is a file, lies in an input's folder, or holds something foreign.
    """
    place = output.resolve()
    for source in inputs:
        if source.is_dir() and place.is_relative_to(source.resolve()):
            raise OutputError(
                "the output lies in the folder of an input, which stays as it is",
                file=output,
                hint=f"the input is {source}; choose an output outside of it",
            )
    if not place.is_dir():
        if place.exists():
            raise OutputError("the output exists and is not a folder", file=output, hint="choose another output")
        return
    if names := sorted(foreign(place)):
        shown = ", ".join(map(printable, names[:_SHOWN]))
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        raise OutputError(
            f"the output holds what no {noun} wrote: {shown}{more}",
            file=output,
            hint=f"give --output a new folder, or the folder of an earlier {noun}",
        )


def has_keys(path: Path, keys: Collection[str]) -> bool:
    """Whether a file is a JSON object with all of the keys."""
    try:
        content = json.loads(read_regular(path, limits.SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() >= set(keys)
