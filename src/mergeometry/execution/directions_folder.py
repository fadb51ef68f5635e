"""The folder in which merges keep directions for later ones: whose it is, what is known there, and what still fits."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.byte_counts import bytes_in
from mergeometry.code_digest import CodeDigest
from mergeometry.errors import OutputError, RecipeError
from mergeometry.execution.directions_plan import nbytes_of, note_of, takes_directions
from mergeometry.execution.directions_store import ENDING, NOTE_ENDING, PARTIAL, DirectionsStore
from mergeometry.plan.plan import Plan
from mergeometry.plan.slices import pieces_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import versions
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem
from mergeometry.sink.target import resolved_target

LIMIT_BYTES = 50_000_000_000
"""What the files of a folder take together, unless the user says otherwise."""

_COMPUTED_BY = ("mergeometry.linalg.svd", "mergeometry.linalg.polar", "mergeometry.linalg.spectrum")
"""Modules that compute what is kept."""

_SHARD = re.compile(r"[0-9a-f]{2}")

_STALE = 86_400
"""Seconds after which a file that was never finished is removed."""


@dataclass(frozen=True, slots=True)
class DirectionsFolder:
    """Where directions are kept, as a user chooses it, and how many bytes of them."""

    path: Path
    limit: int = LIMIT_BYTES

    def store(self) -> DirectionsStore:
        """The store of this version's code; nothing is written."""
        code = CodeDigest.of_installed("mergeometry").of(_COMPUTED_BY)
        identity = json.dumps([code, versions()], sort_keys=True)
        return DirectionsStore(self.path.absolute(), hashlib.sha256(identity.encode()).hexdigest())

    def opened(self) -> DirectionsStore:
        """The same, once the folder is there and nobody else may write in it.

        Raises:
            OutputError: it cannot be made, others may write in it, or it holds anything else.
        """
        with explained("directions cannot be kept", self.path):
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)
        self.check()
        return self.store()

    def check(self, apart: Iterable[Path] = ()) -> None:
        """Refuse a folder that cannot be used, or that lies in one of the places ``apart`` or holds it; make nothing.

        Raises:
            OutputError: it is not a folder, others may write in it, it holds anything else, or is not apart.
        """
        place = Path(os.path.realpath(self.path))
        for other in map(Path, map(os.path.realpath, apart)):
            if place.is_relative_to(other) or other.is_relative_to(place):
                raise OutputError(
                    f"the folder of directions is not apart from {other}, an input or the output", file=self.path,
                    hint="choose a folder for directions alone, outside of models and outputs",
                )  # fmt: skip
        if not os.path.lexists(self.path):
            return
        with explained("directions cannot be kept", self.path):
            state = self.path.stat()
            foreign = sorted(one.name for one in self.path.iterdir() if not _is_shard(one))
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise OutputError(
                "others may write in the folder of directions, and so could change what is merged",
                file=self.path, hint="choose a folder of your own, or `chmod go-w` it",
            )  # fmt: skip
        if foreign:
            raise OutputError(
                f"the folder of directions holds something else: {foreign[0]}",
                file=self.path, hint="choose a folder for them alone",
            )  # fmt: skip


def refuse_unusable(folder: DirectionsFolder | None, plan: Plan, output: str | Path) -> None:
    """Refuse a folder of directions that a merge to this output cannot use, before any work.

    Raises:
        OutputError: it is not apart from inputs and output, others may write in it, or it holds anything else.
    """
    if folder is not None:
        folder.check((*plan.inputs, resolved_target(output)))


def directions_folder(place: str | Path | None, limit: int | str | None = None) -> DirectionsFolder | None:
    """The folder at a place, with a limit such as ``"50GB"``; None where there is no place.

    Raises:
        RecipeError: the place has no name, or the limit is no number of bytes, or of no folder.
    """
    if place is None:
        if limit is not None:
            raise RecipeError("there is a limit of directions, and no folder for them", hint="directions=FOLDER")
        return None
    if not str(place).strip() or "\0" in str(place):
        raise RecipeError(f"the folder of directions has no name that a folder can have, got {str(place)!r}")
    nbytes = bytes_in(limit) if isinstance(limit, str) else LIMIT_BYTES if limit is None else limit
    if nbytes is None or nbytes < 1:
        raise RecipeError(f"the limit of directions is a number of bytes, got {limit!r}", hint="50GB")
    return DirectionsFolder(Path(place).expanduser(), nbytes)


@dataclass(frozen=True, slots=True)
class Kept:
    """Which tensors' directions are looked for and kept in one run."""

    store: DirectionsStore | None = None
    tensors: frozenset[str] = frozenset()
    left_out: int = 0
    """How many have no room."""

    def of(self, task: TensorTask) -> DirectionsStore | None:
        """Where those of a tensor are kept; None where they are not."""
        return self.store if task.name in self.tensors else None

    def to_json(self, recalled: Iterable[tuple[int, int]]) -> dict[str, Any]:
        """What a record says of them: how many decompositions were asked for, and how many of these were known."""
        if self.store is None:
            return {}
        asked, known = (sum(counts) for counts in zip((0, 0), *recalled, strict=True))
        counts = {"asked": asked, "known": known, "tensors_without_room": self.left_out}
        return {"directions": {"folder": str(self.store.folder), **counts}}


NOT_KEPT = Kept()


def kept_in(folder: DirectionsFolder | None, tasks: Sequence[TensorTask]) -> Kept:
    """What a run keeps in a folder, which is made and checked; nothing without one.

    Raises:
        OutputError: the folder may not or cannot be used.
    """
    return NOT_KEPT if folder is None else _with_room(folder.opened(), folder.limit, tasks)


def _with_room(store: DirectionsStore, limit: int, tasks: Sequence[TensorTask]) -> Kept:
    """The tensors whose directions are there or fit; older files make room for them.

    Raises:
        OutputError: the folder cannot be read, or a file cannot be removed.
    """
    with explained("the folder of directions cannot be read", store.folder):
        files = {path: (state.st_mtime, state.st_size) for path, state in _files(store.folder)}
        free = FileSystem().free_bytes(store.folder)
    kept, waiting, held = set[str](), list[tuple[str, int]](), set[Path]()
    for task in tasks:
        pieces = [piece for piece in pieces_of(task) if takes_directions(piece)]
        noted = [store.noted(note_of(store, piece)) for piece in pieces]
        if pieces and all(noted):
            kept.add(task.name)
            for piece, keys in zip(pieces, noted, strict=True):
                held.update(store.used(note_of(store, piece), keys))
        elif pieces:
            waiting.append((task.name, sum(map(nbytes_of, pieces))))
    room, new = min(limit - sum(files[path][1] for path in held if path in files), free // 2), 0
    for name, nbytes in waiting:
        if new + nbytes <= room:
            kept.add(name)
            new += nbytes
    over = sum(size for _, size in files.values()) + new - limit
    with explained("older directions cannot be removed", store.folder):
        for path in sorted(files, key=lambda path: files[path][0]):
            if over > 0 and path not in held:
                path.unlink(missing_ok=True)
                over -= files[path][1]
    return Kept(store, frozenset(kept), sum(name not in kept for name, _ in waiting))


def _is_shard(place: Path) -> bool:
    return _SHARD.fullmatch(place.name) is not None and place.is_dir()


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of a store; what was never finished is removed once a day has passed."""
    for shard in sorted(folder.iterdir()):
        if shard.is_symlink():
            continue
        entries: list[os.DirEntry[str]] = []
        with suppress(FileNotFoundError):  # another merge, or a user, may be removing them
            entries = list(os.scandir(shard))
        for entry in entries:
            with suppress(FileNotFoundError):
                state = entry.stat(follow_symlinks=False)
                if entry.name.endswith((ENDING, NOTE_ENDING)):
                    yield Path(entry.path), state
                elif entry.name.startswith(PARTIAL) and state.st_mtime < time.time() - _STALE:
                    Path(entry.path).unlink()
