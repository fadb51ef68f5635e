"""The journal of a staged run: what it is, then one line per finished tensor.

A line is never trusted by itself: a tensor counts as finished only if its staged bytes have the hash in its line, and
the line its own checksum in front. So the journal needs no fsync, and a line that is torn, lost or damaged costs one
tensor, which is merged again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mergeometry.sink.files import FileSystem

_SCHEMA = 3
_CHECK = 16
"""Letters of a line's checksum."""


@dataclass(frozen=True, slots=True)
class JournalHead:
    """Which run a journal belongs to: only one with the same recipe, inputs and layout may continue it."""

    fingerprint: str
    layout: str
    folder: str
    parts: Mapping[str, str] = field(default_factory=dict)
    """A digest of each part that the fingerprint is made of, so that a run can say what differs."""


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal on disk says; ``whole_bytes`` is its length without a torn last line."""

    head: JournalHead
    records: Mapping[str, dict[str, Any]]
    whole_bytes: int
    finished_bytes: int = 0
    """Bytes of the tensors that it says are finished."""


class Journal:
    """Appends lines to one journal file; methods raise ``OSError``."""

    def __init__(self, path: Path, files: FileSystem) -> None:
        self._path = path
        self._files = files
        self._descriptor: int | None = None

    def begin(self, head: JournalHead) -> None:
        """Start a new journal."""
        self._descriptor = self._files.open(self._path, create=True, append=True)
        self._append({"schema": _SCHEMA, **asdict(head)})

    def resume(self, content: JournalContent) -> None:
        """Continue an existing journal after its last whole line."""
        self._files.truncate(self._path, content.whole_bytes)
        self._descriptor = self._files.open(self._path, append=True)

    def add(self, name: str, record: Mapping[str, Any], nbytes: int) -> None:
        """Append one finished tensor."""
        self._append({"name": name, "bytes": nbytes, "record": dict(record)})

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._files.close(descriptor)

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._descriptor is not None, "the journal is not open"
        text = json.dumps(line, allow_nan=False).encode()
        self._files.write(self._descriptor, b"%s %s\n" % (_checksum(text), text))


def read_journal(path: Path) -> JournalContent | None:
    """Read what an earlier run left; None if there is nothing that can be continued."""
    data = _regular(path)
    if data is None:
        return None
    whole = data[: data.rfind(b"\n") + 1]
    first, *rest = whole.split(b"\n")
    head = _parsed(first)
    if head is None or head.get("schema") != _SCHEMA:
        return None
    fingerprint, layout, folder = (head.get(key) for key in ("fingerprint", "layout", "folder"))
    if not (isinstance(fingerprint, str) and isinstance(layout, str) and isinstance(folder, str)):
        return None
    records: dict[str, dict[str, Any]] = {}
    finished: dict[str, int] = {}
    for line in rest:
        entry = _parsed(line)
        if entry and isinstance(entry.get("name"), str) and isinstance(entry.get("record"), dict):
            records[entry["name"]] = entry["record"]
            finished[entry["name"]] = size if type(size := entry.get("bytes")) is int else 0
    parts = head.get("parts")
    told = {str(key): str(value) for key, value in parts.items()} if isinstance(parts, dict) else {}
    return JournalContent(JournalHead(fingerprint, layout, folder, told), records, len(whole), sum(finished.values()))


def _regular(path: Path) -> bytes | None:
    """The content of a regular file; None for a pipe or a device, which could keep the run waiting, or for a link."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read()
    return None


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_CHECK].encode()


def _parsed(line: bytes) -> dict[str, Any] | None:
    check, _, text = line.partition(b" ")
    if check != _checksum(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
