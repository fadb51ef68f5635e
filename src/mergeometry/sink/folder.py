"""The folder that will be published: created, recognised later, and filled with the files next to the weights."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mergeometry.digests import Algorithm, Hash
from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained, readable_bytes
from mergeometry.sink.files import FileSystem, read_range
from mergeometry.sink.layout import FileLayout, Layout

_PREFIX = "folder-"
_BLOCK = 512


def begin_folder(files: FileSystem, root: Path, layout: Layout) -> Path:
    """Make a new folder with every weight file at its full size and its header written; ``OSError`` if that fails.

    A worker that outlived its killed run must not find the next run's files, so each folder has a name of its own.
    """
    folder = root / f"{_PREFIX}{uuid.uuid4().hex[:12]}"
    files.make_folder(folder)
    for file in layout.files:
        _reserve(files, folder, file)
    return folder


def extend_folder(files: FileSystem, root: Path, folder: Path, later: str, layout: Layout, laid_out: int) -> None:
    """Reserve the files of a further layout in the subfolder ``later``, beside ``laid_out`` bytes of weights.

    Those that an earlier run reserved alike stay, and all else in the subfolder goes.

    Raises:
        OutputError: the disk is too small, or fails.
    """
    with explained("the output cannot be staged", root, needed=layout.nbytes):
        if (folder / later).is_dir():
            _remove_others(files, folder / later, {folder / file.name for file in layout.files})
        check_room(files, root, folder, laid_out + layout.nbytes)
        for file in layout.files:
            path = folder / file.name
            if not _is_intact(path, file):
                if path.is_symlink() or path.exists():
                    files.remove_tree(path)
                _reserve(files, folder, file)


def _reserve(files: FileSystem, folder: Path, file: FileLayout) -> None:
    _make_parents(files, folder, folder / file.name)
    descriptor = files.open(folder / file.name, create=True)
    try:
        files.allocate(descriptor, file.size)
        files.write_at(descriptor, file.header, 0)
    finally:
        files.close(descriptor)


def continued_folder(root: Path, name: str, layout: Layout) -> Path | None:
    """Return an earlier run's folder if it is one of ours and holds this layout; ``OSError`` if it is unreadable."""
    folder = root / name
    if folder.parent != root or not name.startswith(_PREFIX) or folder.is_symlink() or not folder.is_dir():
        return None
    return folder if changed_file(folder, layout) is None else None


def changed_file(folder: Path, layout: Layout) -> FileLayout | None:
    """Return the first weight file that is missing or has another size or header; ``OSError`` if one is unreadable."""
    return next((file for file in layout.files if not _is_intact(folder / file.name, file)), None)


def refuse_changed(folder: Path, layout: Layout) -> None:
    """Raise ``OutputError`` if a weight file is not as it was laid out, or cannot be read."""
    with explained("a staged file cannot be read", folder):
        changed = changed_file(folder, layout)
    if changed is not None:
        raise OutputError("a staged file was changed by someone else", file=folder / changed.name)


def keep_weights_only(files: FileSystem, folder: Path, layout: Layout, later: str = "") -> None:
    """Remove what an earlier run wrote next to the weights, since the base's files may have changed; ``OSError``.

    What is in the subfolder ``later`` stays, where one is named.
    """
    kept = {folder / file.name for file in layout.files}
    _remove_others(files, folder, kept | ({folder / later} if later else set()))


def check_room(files: FileSystem, root: Path, folder: Path | None, needed: int) -> None:
    """Raise ``OutputError`` if the disk has no room for ``needed`` bytes, counting those already in ``folder``."""
    states = [] if folder is None else [file.stat() for file in _files_of(folder)]
    missing = needed - sum(min(state.st_size, state.st_blocks * _BLOCK) for state in states)
    free = files.free_bytes(root)
    if missing > free:
        raise OutputError(
            f"the disk is too small: {readable_bytes(missing)} needed, {readable_bytes(free)} free",
            file=root.parent,
            hint="free some space, or choose an output on another disk",
        )


def add_file(
    files: FileSystem,
    folder: Path,
    name: str,
    pieces: Iterable[bytes | memoryview],
    size: int,
    *,
    algorithm: Algorithm,
) -> str:
    """Write one file of ``size`` bytes next to the weights and return its digest.

    Raises:
        OutputError: the name leads out of the folder or is taken, or the disk fails.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise OutputError("a file's name leads out of the output folder", file=name)
    path = folder.joinpath(*parts)
    hashed = Hash(algorithm)
    with explained("a file of the output cannot be written", path, needed=size):
        _make_parents(files, folder, path)
        descriptor = files.open(path, create=True)
        try:
            for piece in pieces:
                files.write(descriptor, piece)
                hashed.update(piece)
        finally:
            files.close(descriptor)
    return hashed.digest


def _make_parents(files: FileSystem, folder: Path, path: Path) -> None:
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        if not (folder / parent).is_dir():
            files.make_folder(folder / parent)


def _remove_others(files: FileSystem, folder: Path, kept: Collection[Path]) -> None:
    for child in sorted(folder.iterdir()):
        if any(child in path.parents for path in kept):
            _remove_others(files, child, kept)
        elif child not in kept:
            files.remove_tree(child)


def _files_of(folder: Path) -> Iterator[Path]:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            yield from _files_of(child)
        else:
            yield child


def _is_intact(path: Path, file: FileLayout) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    return b"".join(read_range(path, 0, len(file.header))) == file.header
