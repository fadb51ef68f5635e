"""Which tensors of a staged output are written, by its journal: this run's, and an earlier one's that are intact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry.digests import algorithm_of
from mergeometry.errors import OutputError
from mergeometry.sink.failures import explained
from mergeometry.sink.folder import refuse_changed
from mergeometry.sink.journal import JournalContent
from mergeometry.sink.layout import Layout
from mergeometry.sink.staging_place import StagingPlace
from mergeometry.sink.writer import slot_holds

_BLOCK = 4096
"""Bytes by which a file grows on a disk, whatever a line of the journal takes."""


class FinishedTensors:
    """Journals tensors as they are written; true once there is one that a run with ``resume`` can continue from."""

    def __init__(self, place: StagingPlace) -> None:
        self._place = place
        self._layouts: list[Layout] = []
        self._earlier: Mapping[str, dict[str, Any]] = {}
        self._done: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._done or self._earlier)

    def expect(self, layout: Layout) -> None:
        """Count the tensors of a layout among those to be written."""
        self._layouts.append(layout)

    def continue_from(self, content: JournalContent) -> None:
        """Continue the journal of an earlier run."""
        self._place.journal.resume(content)
        self._earlier = content.records

    def intact(self, folder: Path, layout: Layout, *, verify: bool) -> dict[str, dict[str, Any]]:
        """The records of a layout's tensors that an earlier run finished.

        With ``verify``, only those whose staged bytes have the digest of the journal.
        """
        slots = layout.slots
        records = {
            name: record
            for name, record in self._earlier.items()
            if name in slots and (not verify or slot_holds(folder, slots[name], record.get("digest")))
        }
        self._done.update(records)
        return records

    def journal(self, name: str, record: Mapping[str, Any]) -> None:
        """Note that a tensor's bytes are written; ``record`` holds their ``digest`` and any JSON values."""
        slot = next((one.slots[name] for one in self._layouts if name in one.slots), None)
        assert slot is not None, f"no slot for {name}"
        assert algorithm_of(str(record.get("digest"))), "a record needs the digest of the bytes"
        self._add(name, record, slot.nbytes)
        self._done.add(name)

    def note(self, name: str, record: Mapping[str, Any]) -> None:
        """Journal figures that belong to no tensor, for a run that continues this one."""
        self._add(name, record, 0)

    def noted(self, name: str) -> Mapping[str, Any] | None:
        """What an earlier run noted under a name; None where it did not."""
        return self._earlier.get(name)

    def refuse_incomplete(self, folder: Path) -> None:
        """Raise ``OutputError`` where a tensor is not written, or a file is not as it was laid out."""
        for layout in self._layouts:
            missing = sorted(layout.slots.keys() - self._done)
            if missing:
                raise OutputError(f"{len(missing)} tensors of the output were not written", tensor=missing[0])
            refuse_changed(folder, layout)

    def _add(self, name: str, record: Mapping[str, Any], size: int) -> None:
        with explained("the journal cannot be written", self._place.journal_path, needed=_BLOCK):
            self._place.journal.add(name, record, size)
