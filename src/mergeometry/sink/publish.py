"""Moves a staged folder into its place in one step."""

from __future__ import annotations

from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem, unsupported
from mergeometry.sink.target import occupied


def make_durable(files: FileSystem, folder: Path) -> None:
    """Return once all files of a folder, and their entries, are on the disk; ``OSError`` if that fails."""
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            make_durable(files, child)
        else:
            files.sync_file(child)
    files.sync_folder(folder)


def move_into_place(files: FileSystem, folder: Path, target: Path, spare: Path, *, overwrite: bool) -> Path | None:
    """Make ``folder`` the target; return where the old target is now, if there was one.

    Where the system cannot exchange two folders, the old one is at ``spare`` for the moment between two
    renames; ``restore`` repairs a run that died in that moment.

    Raises:
        OutputError: something else is at the target, or the disk fails.
    """
    with explained("the output cannot be put in its place", target):
        if not (overwrite and occupied(target)):
            files.rename(folder, target)
            return None
        try:
            files.exchange(folder, target)
        except OSError as error:
            if not unsupported(error):
                raise
        else:
            return folder
        files.rename(target, spare)
        try:
            files.rename(folder, target)
        except OSError:
            files.rename(spare, target)
            raise
        return spare


def move_files_into_place(files: FileSystem, folder: Path, target: Path) -> None:
    """Move the files of ``folder`` next to ``target``, each in one step, and that of the target's own name last.

    A run that dies in between has left no output: its run record alone, which the next run replaces.

    Raises:
        OutputError: the disk fails.
    """
    with explained("the output cannot be put in its place", target):
        for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
            files.replace(file, target.with_name(file.name))


def confirm(files: FileSystem, target: Path, staging: Path) -> None:
    """Return once the move is on the disk; ``OutputError`` if the disk fails after the output is in place."""
    try:
        files.sync_folder(target.parent)
        files.sync_folder(staging)
    except OSError as error:
        raise OutputError(
            f"the output is in place, but the disk did not confirm it: {error.strerror}",
            file=target,
            hint="check the disk; the output may be gone after a power loss",
        ) from error


def restore(files: FileSystem, spare: Path, target: Path) -> None:
    """Bring back the old target from ``spare`` if a run died between two renames; ``OSError`` if that fails."""
    if spare.is_dir() and not spare.is_symlink() and not occupied(target):
        files.rename(spare, target)
        files.sync_folder(target.parent)
