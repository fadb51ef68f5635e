"""A folder next to an output in which long work, learning or a search, keeps its state until it is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem
from mergeometry.sink.lock import RunLock
from mergeometry.sink.replaceable import refuse_taken
from mergeometry.sink.target import resolved_target


class StateFolder:
    """Holds the folder that ``folder_of`` gives from entry to exit, for one live run; its content stays until `done`.

    Raises:
        OutputError: the output may not be written, or another run holds the folder.
    """

    def __init__(
        self,
        output: str | Path,
        folder_of: Callable[[Path], Path],
        *,
        overwrite: bool = False,
        resume: bool = False,
        inputs: Sequence[Path] = (),
    ) -> None:
        self._target, self._resume = resolved_target(output), resume
        refuse_taken(self._target, overwrite=overwrite, inputs=inputs)
        self.folder = folder_of(self._target)
        self.discarded_bytes = 0
        """The size of an earlier run's state, which this one does not continue."""
        self._files = FileSystem()
        self._lock = RunLock(self.folder, self._files)

    def __enter__(self) -> Self:
        with explained("the output's parent folder cannot be made", self._target.parent):
            self._target.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        if not self._resume:
            self.discarded_bytes = sum(child.stat().st_size for child in self.folder.iterdir() if child.name != "lock")
            self.done()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def done(self) -> None:
        """Forget what is kept: the output is published, or the work starts over."""
        with explained("what an earlier run has kept cannot be removed", self.folder):
            for child in self.folder.iterdir():
                if child.name != "lock":
                    child.unlink()


def remove_state(output: str | Path, folder_of: Callable[[Path], Path]) -> bool:
    """Remove the state that an interrupted run left next to an output; say whether there was any.

    Raises:
        OutputError: the run is still alive, or files cannot be removed.
    """
    folder = folder_of(resolved_target(output))
    if not folder.is_dir():
        return False
    lock = RunLock(folder, FileSystem())
    lock.acquire()
    try:
        with explained("what an earlier run has kept cannot be removed", folder):
            for child in folder.iterdir():
                if child.name != "lock":
                    with suppress(FileNotFoundError):
                        child.unlink()
    finally:
        lock.release()
    return True
