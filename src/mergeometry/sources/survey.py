"""Lists what a model's folder holds, so that nothing in it is passed over unseen."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mergeometry.conventions.folders import LIBRARY_FILES, Kind, is_variant, kind_of_file, kind_of_folder, stem_of
from mergeometry.conventions.modules import Part
from mergeometry.errors import SourceError

_DEEPEST = 4
_MOST = 20_000
"""Files of one folder that are looked at; the largest public models have a few hundred."""


class Entry(NamedTuple):
    """One file, or one subfolder as a whole, of a model's folder; ``read`` says whether its tensors are the model's."""

    name: str
    kind: Kind
    words: str
    read: bool = False


def survey(folder: Path, read: Collection[Path], parts: Sequence[Part], modules: Collection[str]) -> tuple[Entry, ...]:
    """Every file of a folder with what it is; ``read`` are the files whose tensors are the model's.

    Subfolders of a known kind are one entry each; those of ``modules``, and all others, are looked into.

    Raises:
        SourceError: the folder holds more files than any model.
    """
    entries: list[Entry] = []
    for entry in _entries(folder, "", read, parts, modules, _DEEPEST):
        entries.append(entry)
        if len(entries) > _MOST:
            raise SourceError(f"the folder holds more than {_MOST:,} files", file=folder, hint="give the model's own")
    return tuple(entries)


def _entries(
    folder: Path, place: str, read: Collection[Path], parts: Sequence[Part], modules: Collection[str], deeper: int
) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        children = sorted(found, key=lambda child: child.name)
    stem = next((part.stem for part in parts if part.folder == place), None)
    for child in children:
        name = f"{place}/{child.name}" if place else child.name
        if not child.is_dir(follow_symlinks=True):
            yield _file(child.name, name, Path(child.path) in read, stem)
            continue
        row = kind_of_folder(child.name)
        if row.kind is not Kind.UNKNOWN and name not in modules:
            yield Entry(f"{name}/", row.kind, row.words)
        elif deeper and not child.is_symlink():
            yield from _entries(Path(child.path), name, read, parts, modules, deeper - 1)
        else:
            yield Entry(f"{name}/", Kind.UNKNOWN, row.words)


def _file(own: str, name: str, read: bool, stem: str | None) -> Entry:
    row = kind_of_file(own)
    if read or own == f"{stem}.safetensors.index.json":
        return Entry(name, row.kind, row.words, read=True)
    if stem is not None and (is_variant(own, stem) or own == f"{stem}.bin"):
        return Entry(name, Kind.COPY, "another copy of the weights")
    if row.kind is not Kind.WEIGHTS:
        return Entry(name, row.kind, row.words)
    if stem not in (None, *LIBRARY_FILES) and stem_of(own) in LIBRARY_FILES:
        return Entry(name, Kind.COPY, "another copy of the weights")
    return Entry(name, Kind.UNREAD, "weights that belong to no model that is read")
