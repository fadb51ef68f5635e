"""One live run per target: a lock on the staging folder that the system drops when a run dies."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem, unsupported

_ATTEMPTS = 100


class RunLock:
    """Holds ``folder``/lock from ``acquire`` to ``release``."""

    def __init__(self, folder: Path, files: FileSystem) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._files = files
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Create the staging folder if it is missing and lock it.

        Raises:
            OutputError: another live run holds the lock, or the file system has no locks.
        """
        for _ in range(_ATTEMPTS):
            if self._attempt():
                return
        raise OutputError("the staging folder keeps changing", file=self._folder, hint="try again")

    def release(self) -> None:
        """Release the lock, and remove the staging folder if it is empty.

        Raises:
            OutputError: the system refuses; the lock is released all the same.
        """
        if self._descriptor is None:
            return
        with explained("the staging folder cannot be released", self._folder):
            try:
                if [entry.name for entry in self._folder.iterdir()] == ["lock"]:
                    # The lock file goes first: a run that finds the folder without one makes its own and keeps it.
                    self._files.remove_file(self._path)
                    with suppress(OSError):
                        self._files.remove_folder(self._folder)
            finally:
                descriptor, self._descriptor = self._descriptor, None
                self._files.close(descriptor)

    def _attempt(self) -> bool:
        with explained("the staging folder cannot be made", self._folder):
            try:
                self._files.make_folder(self._folder)
            except FileExistsError:
                if not _is_folder(self._folder):
                    raise OutputError(
                        "the place where the output is staged is taken by something that is not a folder",
                        file=self._folder,
                        hint="move it away, or choose another output",
                    ) from None
            try:
                descriptor = self._files.lock(self._path)
            except FileNotFoundError:
                return False  # another run finished and removed the folder in between
            except BlockingIOError:
                raise OutputError(
                    "another run is writing the same output",
                    file=self._folder,
                    hint="wait for it to end, stop it, or choose another output",
                ) from None
            except OSError as error:
                if not unsupported(error):
                    raise
                raise OutputError(
                    "this file system has no locks, so two runs could mix in one output",
                    file=self._folder,
                    hint="write to a local disk and copy the folder afterwards",
                ) from error
        if not _same_file(descriptor, self._path):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return True  # another run finished and removed the folder in between; the next attempt makes it again


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
