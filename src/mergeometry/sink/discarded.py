"""What an earlier run finished and the present one does not continue, and why."""

from __future__ import annotations

from typing import NamedTuple

from mergeometry.sink.failures import readable_bytes
from mergeometry.sink.journal import JournalContent, JournalHead
from mergeometry.words import counted


class Discarded(NamedTuple):
    """Finished tensors that are computed again, their bytes, and the reason."""

    tensors: int
    nbytes: int
    reason: str

    def __str__(self) -> str:
        staged = f"{counted(self.tensors, 'finished tensor')} of an earlier run ({readable_bytes(self.nbytes)})"
        return f"{staged} {'is' if self.tensors == 1 else 'are'} discarded: {self.reason}"


def reason_to_discard(content: JournalContent | None, head: JournalHead, *, resume: bool) -> str:
    """Why a run does not continue what a journal says; empty where it does, or there is nothing."""
    if content is None:
        return ""
    if not resume:
        return "a run without --resume starts over"
    if (content.head.fingerprint, content.head.layout) == (head.fingerprint, head.layout):
        return ""
    before = content.head.parts
    differ = [part for part in dict.fromkeys([*head.parts, *before]) if head.parts.get(part) != before.get(part)]
    if not before or not differ:
        return "its recipe, inputs, versions or layout differ"
    return f"{' and '.join(differ)} differ"


def discarded_of(content: JournalContent | None, reason: str) -> Discarded | None:
    """What is lost with a journal; nothing where it lists no tensor."""
    if content is None or not content.records:
        return None
    return Discarded(len(content.records), content.finished_bytes, reason)
