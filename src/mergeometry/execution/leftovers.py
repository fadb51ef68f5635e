"""What interrupted runs left: beside an output, and in the cache."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mergeometry.execution.scratch import left_folders
from mergeometry.execution.stages import remove_stages, stages_folder
from mergeometry.sink import remove_stale, remove_state
from mergeometry.sink.failures import explained
from mergeometry.sink.target import learning_folder, resolved_target, search_folder, staging_folder

ACTIVATIONS = ".{name}.mergeometry-activations-"
"""How the folder begins in which a merge by activations keeps them."""

MERGES = ".{name}.mergeometry-merges-"
"""How the folder begins in which a search keeps merged task vectors."""

_PARTIAL = (".fetching-*", ".converting-*", ".unpacking-*", ".training-*")
_A_DAY = 86_400.0
"""Seconds without a change after which no run is taken to work on a part of the cache."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that an interrupted run left, and its size."""

    what: str
    path: Path
    nbytes: int


def leftovers(output: str | Path) -> list[Leftover]:
    """What lies beside an output; what a live run works on may be among it, and is never removed."""
    target = resolved_target(output)
    places = [
        ("staged tensors", staging_folder(target)),
        ("the state of learning", learning_folder(target)),
        ("the scores of a search", search_folder(target)),
        ("finished stages", stages_folder(target)),
    ]
    places += [
        (what, folder)
        for what, prefix in (("activations", ACTIVATIONS), ("merges of a search", MERGES))
        for folder in left_folders(target.parent, prefix.format(name=target.name))
    ]
    return [Leftover(what, path, _size(path)) for what, path in places if path.is_dir() and not path.is_symlink()]


def remove_leftovers(output: str | Path) -> None:
    """Remove what interrupted runs left beside an output.

    Raises:
        OutputError: a run is still alive, or files cannot be removed.
    """
    target = resolved_target(output)
    remove_stale(target)
    remove_state(target, learning_folder)
    remove_stages(target)
    remove_state(target, search_folder)
    for folder in (
        folder
        for prefix in (ACTIVATIONS, MERGES)
        for folder in left_folders(target.parent, prefix.format(name=target.name))
    ):
        with explained("what was left cannot be removed", folder):
            shutil.rmtree(folder)


def partial_files(cache: Path) -> list[Leftover]:
    """Parts of the cache that were never completed, and that nothing has touched for a day."""
    now = time.time()
    found = (path for pattern in _PARTIAL for path in cache.glob(f"**/{pattern}"))
    return [Leftover("never completed", path, _size(path)) for path in found if now - _newest(path) > _A_DAY]


def remove_partial_files(cache: Path) -> None:
    """Remove them.

    Raises:
        OutputError: a file cannot be removed.
    """
    for one in partial_files(cache):
        with explained("a part of the cache cannot be removed", one.path):
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink()


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir() or place.is_symlink():
        yield place
        return
    for folder, _, files in os.walk(place):
        yield from (Path(folder) / name for name in files)


def _size(place: Path) -> int:
    """Bytes on the disk: a staged file has its whole size from the first moment."""
    states = [path.lstat() for path in _files(place)]
    return sum(min(state.st_size, state.st_blocks * 512) for state in states)


def _newest(place: Path) -> float:
    return max((path.lstat().st_mtime for path in [place, *_files(place)]), default=0.0)
