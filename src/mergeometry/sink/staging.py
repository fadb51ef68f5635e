"""The staged output folder: laid out, filled, resumed, and published whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.errors import MergeometryError
from mergeometry.sink.discarded import Discarded, discarded_of, reason_to_discard
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem, read_range
from mergeometry.sink.finished import FinishedTensors
from mergeometry.sink.folder import (
    add_file,
    begin_folder,
    check_room,
    continued_folder,
    extend_folder,
    keep_weights_only,
)
from mergeometry.sink.journal import JournalContent, JournalHead
from mergeometry.sink.layout import Layout, Slot, header_entry
from mergeometry.sink.publish import confirm, make_durable, move_files_into_place, move_into_place
from mergeometry.sink.replaceable import refuse_taken
from mergeometry.sink.staging_place import StagingPlace, make_parents
from mergeometry.sink.target import is_single_file, occupied, resolved_target
from mergeometry.sink.writer import slot_digest


class Staging:
    """Stages one output next to its target; use it as a context manager around the whole run.

    Leaving the block without ``publish`` publishes nothing. If an exception ends it after at least one tensor
    was journalled, the staging stays for a run with ``resume`` and ``kept`` is true; otherwise it is removed.

    Raises:
        OutputError: the target is taken, or, from every method, the disk fails.
    """

    def __init__(
        self,
        target: Path | str,
        *,
        overwrite: bool = False,
        resume: bool = False,
        inputs: Sequence[Path] = (),
        algorithm: Algorithm = DEFAULT,
        files: FileSystem | None = None,
    ) -> None:
        self._algorithm: Algorithm = algorithm
        self.target = resolved_target(target)
        self.resumed = False
        self.discarded: Discarded | None = None
        self.kept = False
        self._folder: Path | None = None
        self._overwrite = overwrite
        self._resume = resume
        self._inputs = tuple(inputs)
        self._files = files or FileSystem()
        self._place = StagingPlace(self.target, self._files)
        self._layout: Layout | None = None
        self._further: Layout | None = None
        self._later = ""
        self._finished = FinishedTensors(self._place)
        self._written: dict[str, dict[str, Any]] = {}
        self._published = False
        with explained("the output's path, or what is staged beside it, cannot be examined", self.target):
            waiting = self._place.spare.is_dir()  # the target itself, between two renames: __enter__ looks again
        if not waiting:
            refuse_taken(self.target, overwrite=overwrite, inputs=self._inputs)

    def __enter__(self) -> Self:
        with explained("the output's parent folder cannot be made", self.target.parent):
            make_parents(self._files, self.target.parent)
        self._place.acquire()
        try:
            with explained("the earlier output cannot be brought back", self.target):
                self._place.restore()
            refuse_taken(self.target, overwrite=self._overwrite, inputs=self._inputs)
        except BaseException:
            self._place.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kept = error is not None and not self._published and self._worth_keeping()
        if self.kept:
            self._place.release()
            return
        try:
            self._place.remove()
        except MergeometryError:
            if error is None and not self._published:
                raise  # otherwise the first error is the one to report; the next run removes what is left

    @property
    def token(self) -> Path:
        """A path in the folder next to the target that is this run's until it ends; machines that share it know it by.

        Whoever writes the file, or others whose names begin alike, removes them.
        """
        return self._place.token

    @property
    def folder(self) -> Path:
        """The staged folder, once ``create`` has made it: workers write there."""
        assert self._folder is not None, "create() comes first"
        return self._folder

    @property
    def published(self) -> bool:
        """Whether the output is in its place; what happens afterwards does not change it."""
        return self._published

    @property
    def names(self) -> set[str]:
        """The files of the output so far: weights, index, and all that was written next to them."""
        return set(self.contents)

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """The same with their sizes and their digests: of a file of weights that of its header alone."""
        files = () if self._layout is None else self._layout.files
        return {**{file.name: header_entry(file, self._algorithm) for file in files}, **self._written}

    def create(
        self,
        layout: Layout,
        fingerprint: str,
        *,
        extra_bytes: int = 0,
        parts: Mapping[str, str] | None = None,
        later: str = "",
    ) -> None:
        """Reserve all weight files and write their headers, or resume an earlier run of the same ``fingerprint``.

        ``extra_bytes`` is the space that other files will take, ``parts`` what the fingerprint is made of, ``later``
        the subfolder that ``extend`` will lay out. What an earlier run finished and this one does not continue is in
        ``discarded`` then.

        Raises:
            OutputError: the disk is too small; the error says how much is needed and free.
        """
        self._layout, self._later = layout, later
        self._finished.expect(layout)
        content = self._place.read_journal()
        head = JournalHead(fingerprint, layout.digest, "", parts or {})
        reason = reason_to_discard(content, head, resume=self._resume)
        with explained("the output cannot be staged", self._place.folder, needed=layout.nbytes + extra_bytes):
            if content and not reason:
                self._folder = continued_folder(self._place.folder, content.head.folder, layout)
            if content and self._folder:
                self._adopt(content, layout)
            else:
                self.discarded = discarded_of(content, reason or "its staged files changed")
                self._place.clear()
            check_room(self._files, self._place.folder, self._folder, layout.nbytes + extra_bytes)
            if self._folder is None:
                self._folder = begin_folder(self._files, self._place.folder, layout)
                self._place.journal.begin(replace(head, folder=self._folder.name))
        for name, index in layout.indexes.items():
            text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False)
            self.write_file(name, f"{text}\n".encode())

    def extend(self, layout: Layout) -> dict[str, dict[str, Any]]:
        """Reserve the files of the subfolder for ``later``, or continue an earlier run's; return what it finished.

        Each file has to be sealed once all of its tensors are journalled.

        Raises:
            OutputError: the disk is too small; the error says how much is needed and free.
        """
        assert self._layout is not None and self._later, "create() comes first, and names the folder"
        extend_folder(self._files, self._place.folder, self.folder, self._later, layout, self._layout.nbytes)
        self._further = layout
        self._finished.expect(layout)
        return self._finished.intact(self.folder, layout, verify=True)

    def seal(self, name: str) -> None:
        """Count a finished file of the extension among those next to the weights, by the digest of all its bytes."""
        assert self._further is not None, "extend() comes first"
        size = next(file.size for file in self._further.files if file.name == name)
        digest = slot_digest(self.folder, Slot(name, 0, size, "U8"), self._algorithm)
        self._written[name] = {"bytes": size, "digest": digest}

    def note(self, name: str, record: Mapping[str, Any]) -> None:
        """Journal figures that belong to no tensor, for a run that continues this one."""
        self._finished.note(name, record)

    def noted(self, name: str) -> Mapping[str, Any] | None:
        """What an earlier run noted under a name; None where it did not."""
        return self._finished.noted(name)

    def completed(self, *, verify: bool = True) -> dict[str, dict[str, Any]]:
        """Return the records of tensors that an earlier run finished, as given to ``journal``.

        With ``verify``, only those whose staged bytes have the digest of the journal.
        """
        assert self._layout is not None, "create() comes first"
        return self._finished.intact(self.folder, self._layout, verify=verify)

    def journal(self, name: str, record: Mapping[str, Any]) -> None:
        """Note that a tensor's bytes are written; ``record`` holds their ``digest`` and any JSON values."""
        self._finished.journal(name, record)

    def write_file(self, name: str, data: bytes) -> str:
        """Write a file next to the weights; ``name`` may lead into sub-folders; return its digest."""
        return self._added(name, [data], len(data))

    def write_pieces(self, name: str, pieces: Iterable[bytes | memoryview], size: int) -> str:
        """Write a file of ``size`` bytes piece by piece; return its digest."""
        return self._added(name, pieces, size)

    def copy_file(self, name: str, source: Path) -> str:
        """Copy a file next to the weights, piece by piece; return its digest."""
        with explained("a file cannot be read", source):
            size = source.stat().st_size
        return self._added(name, read_range(source, 0, size), size)

    def publish(self) -> tuple[str, ...]:
        """Make everything durable and move it to the target in one step; return notes for the user.

        Raises:
            OutputError: a tensor is missing, or something appeared at the target meanwhile.
        """
        assert self._layout is not None, "create() comes first"
        self._finished.refuse_incomplete(self.folder)
        with explained("the output cannot be synced to the disk", self.folder):
            make_durable(self._files, self.folder)
        single = is_single_file(self.target)
        if single or (self._overwrite and occupied(self.target)):
            # What somebody put there during the merge is not lost either.
            refuse_taken(self.target, overwrite=self._overwrite, inputs=self._inputs)
        old = None
        if single:
            move_files_into_place(self._files, self.folder, self.target)
        else:
            spare = self._place.spare
            old = move_into_place(self._files, self.folder, self.target, spare, overwrite=self._overwrite)
        self._published = True
        confirm(self._files, self.target, self._place.folder)
        try:
            self._place.clear()
        except OSError as error:
            left = self._place.folder if old is None else old
            return (f"the output is in place, but {left} could not be removed: {error.strerror}",)
        return ()

    def _added(self, name: str, pieces: Iterable[bytes | memoryview], size: int) -> str:
        digest = add_file(self._files, self.folder, name, pieces, size, algorithm=self._algorithm)
        self._written[name] = {"bytes": size, "digest": digest}
        return digest

    def _worth_keeping(self) -> bool:
        if self._layout is None:  # the error came before create(): what a resumed run would continue from is untouched
            content = self._place.read_journal() if self._resume else None
            return bool(content and content.records)
        return bool(self._finished)

    def _adopt(self, content: JournalContent, layout: Layout) -> None:
        self._place.clear(keep=self.folder)
        keep_weights_only(self._files, self.folder, layout, self._later)
        self._finished.continue_from(content)
        self.resumed = True
