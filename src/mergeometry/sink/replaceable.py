"""What may be written to and what may be replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mergeometry.errors import OutputError, SourceError, printable
from mergeometry.sink.failures import explained
from mergeometry.sink.record import read_record
from mergeometry.sink.target import ATTESTATIONS, is_single_file, occupied, record_path

_SHOWN = 10
_SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers leave in every folder that they show."""


def refuse_taken(target: Path, *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Raise ``OutputError`` if the target may not be created or, with ``overwrite``, not be replaced."""
    with explained("the output's path cannot be examined", target):
        _refuse_users_folders(target)
        _refuse_inputs(target, inputs)
        if target.is_mount():
            raise OutputError("the output is a mount point", file=target, hint="choose a folder inside it")
        if target.is_symlink():
            raise OutputError("the output is a symbolic link", file=target, hint="give the folder it points to")
        if is_single_file(target) and not occupied(target) and occupied(record_path(target)):
            _refuse_foreign(target)  # what a run that died between its two files left is its own
        if not occupied(target):
            return
        if not target.is_dir() and not (is_single_file(target) and target.is_file()):
            raise OutputError("the output exists and is not a folder", file=target, hint="choose another output")
        if not overwrite:
            raise OutputError(
                "the output exists already", file=target, hint="choose another output, or replace it with --overwrite"
            )
        _refuse_foreign(target)


def _refuse_users_folders(target: Path) -> None:
    places = []
    with suppress(FileNotFoundError):  # somebody removed it
        places.append(("the current folder", Path.cwd()))
    with suppress(RuntimeError):  # a user without a home, as in some containers
        places.append(("your home folder", Path.home()))
    for what, place in places:
        if place.resolve().is_relative_to(target):
            raise OutputError(f"the output would replace {what}", file=target, hint="choose a folder inside it")


def _refuse_inputs(target: Path, inputs: Sequence[Path]) -> None:
    for source in inputs:
        if any(path.is_relative_to(target) for path in _places(source)):
            raise OutputError(
                "the output would replace one of the inputs",
                file=target,
                hint=f"{source} lies there; choose another output",
            )
        if source.is_dir() and target.is_relative_to(source.resolve()):
            raise OutputError(
                "the output lies in the folder of an input, which stays as it is",
                file=target,
                hint=f"the input is {source}; choose an output outside of it",
            )


def _places(source: Path) -> Iterator[Path]:
    """Yield where an input lies: as named, as resolved, and where the links in its folder lead."""
    yield Path(os.path.abspath(source))  # noqa: PTH100 - the path as named, links kept
    yield source.resolve()
    if source.is_dir():
        yield from (child.resolve() for child in source.iterdir() if child.is_symlink())


def _refuse_foreign(target: Path) -> None:
    """Only an output that a merge wrote, and a folder only if nothing was added to it since, is replaced."""
    try:
        own = set(read_record(target).files)
    except SourceError as error:
        raise OutputError(
            f"the output exists and holds no run record of a merge ({error.what}), so it is not replaced",
            file=target,
            hint=f"only an output with the {record_path(target).name} that this version wrote is; choose another one, "
            "or remove it",
        ) from error
    if is_single_file(target):
        return
    if not os.access(target, os.W_OK):  # a folder that is moved to another one is written to
        raise OutputError(
            "the output may not be replaced: you have no right to write to it", file=target,
            hint="check the folder's permissions, or choose another output",
        )  # fmt: skip
    if foreign := [str(path.relative_to(target)) for path in _files_below(target) if _is_foreign(path, target, own)]:
        shown = ", ".join(printable(name) for name in sorted(foreign)[:_SHOWN])
        more = f" and {len(foreign) - _SHOWN:,} more" if len(foreign) > _SHOWN else ""
        raise OutputError(
            f"the output holds what the earlier merge did not write, so it is not replaced: {shown}{more}",
            file=target,
            hint="move it away, or choose another output",
        )


def _is_foreign(path: Path, target: Path, own: set[str]) -> bool:
    name = path.relative_to(target).as_posix()
    return path.name not in _SYSTEM_FILES and name not in own and name not in ATTESTATIONS


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, and every folder that is empty."""
    children = list(folder.iterdir())
    for child in children:
        if child.is_dir() and not child.is_symlink():
            inner = list(_files_below(child))
            yield from inner or [child]
        else:
            yield child
