"""The folder next to a target that one run at a time stages in: locked, cleared, and removed when its run is dead."""

from __future__ import annotations

import uuid
from pathlib import Path

from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem
from mergeometry.sink.journal import Journal, JournalContent, read_journal
from mergeometry.sink.lock import RunLock
from mergeometry.sink.publish import restore
from mergeometry.sink.target import resolved_target, staging_folder

_JOURNAL = "journal.jsonl"


class StagingPlace:
    """What a run owns next to a resolved target from ``acquire`` to ``release``: folder, lock, journal and token."""

    def __init__(self, target: Path, files: FileSystem) -> None:
        self._target = target
        self._files = files
        self.folder = staging_folder(target)
        self.spare = self.folder / "old"
        """Where the old target is between two renames, on systems that cannot exchange folders."""
        self.token = self.folder / f"token-{uuid.uuid4().hex[:12]}"
        """A path that is this run's own; machines that share the folder know it by."""
        self.journal_path = self.folder / _JOURNAL
        self.journal = Journal(self.journal_path, files)
        self._lock = RunLock(self.folder, files)

    def acquire(self) -> None:
        """Make the folder and lock it; ``OutputError`` if another live run holds it."""
        self._lock.acquire()

    def restore(self) -> None:
        """Bring back an old target that a run left at ``spare``; ``OSError`` if that fails."""
        restore(self._files, self.spare, self._target)

    def read_journal(self) -> JournalContent | None:
        """Return what an earlier run journalled; None where it left nothing that can be used."""
        return read_journal(self.journal_path)

    def clear(self, keep: Path | None = None) -> None:
        """Remove all but the lock and the token, and but ``keep`` and its journal if given; ``OSError``."""
        # The journal goes first: without it no run continues from a half-removed staging.
        self.journal.close()
        kept = {"lock", *([keep.name, _JOURNAL] if keep else [])}
        if not self.folder.is_dir():
            return
        for child in sorted(self.folder.iterdir(), key=_journal_first):
            if child.name not in kept and not child.name.startswith(self.token.name):
                self._files.remove_tree(child)

    def remove(self) -> None:
        """Clear the folder and release the lock; ``OutputError`` if files cannot be removed."""
        try:
            with explained("what was staged cannot be removed", self.folder):
                self.clear()
        finally:
            self.release()

    def release(self) -> None:
        """Release the lock, and remove the folder if it is empty; ``OutputError`` if that fails."""
        with explained("the staging folder cannot be released", self.folder):
            try:
                self.journal.close()
            finally:
                self._lock.release()


def make_parents(files: FileSystem, folder: Path) -> None:
    """Make a folder and its parents, each on the disk before the next; ``OSError`` if that fails."""
    if not folder.is_dir():
        make_parents(files, folder.parent)
        try:
            files.make_folder(folder)
        except FileExistsError:
            if not folder.is_dir():
                raise
        files.sync_folder(folder.parent)


def remove_stale(target: Path | str) -> bool:
    """Remove what a dead run staged for a target; say whether there was anything.

    Raises:
        OutputError: the run is still alive, or files cannot be removed.
    """
    place = StagingPlace(resolved_target(target), FileSystem())
    if not place.folder.is_dir():
        return False
    place.acquire()
    try:
        with explained("the earlier output cannot be brought back", place.folder):
            place.restore()
    except BaseException:
        place.release()
        raise
    place.remove()
    return True


def _journal_first(path: Path) -> tuple[bool, str]:
    return path.name != _JOURNAL, path.name
