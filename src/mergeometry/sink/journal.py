"""The journal of a staged run: what it is, then one line per finished tensor.

A line is never trusted by itself: a tensor counts as finished only if its staged bytes have the hash in its line.
So the journal needs no fsync, and a line that is torn or lost costs one tensor, which is merged again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.sink.files import FileSystem

_SCHEMA = 2


@dataclass(frozen=True, slots=True)
class JournalHead:
    """Which run a journal belongs to: only one with the same recipe, inputs and layout may continue it."""

    fingerprint: str
    layout: str
    folder: str


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal on disk says; ``whole_bytes`` is its length without a torn last line."""

    head: JournalHead
    records: Mapping[str, dict[str, Any]]
    whole_bytes: int


class Journal:
    """Appends lines to one journal file; methods raise ``OSError``."""

    def __init__(self, path: Path, files: FileSystem) -> None:
        self._path = path
        self._files = files
        self._descriptor: int | None = None

    def begin(self, head: JournalHead) -> None:
        """Start a new journal."""
        self._descriptor = self._files.open(self._path, create=True, append=True)
        line = {"schema": _SCHEMA, "fingerprint": head.fingerprint, "layout": head.layout, "folder": head.folder}
        self._append(line)

    def resume(self, content: JournalContent) -> None:
        """Continue an existing journal after its last whole line."""
        self._files.truncate(self._path, content.whole_bytes)
        self._descriptor = self._files.open(self._path, append=True)

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """Append one finished tensor."""
        self._append({"name": name, "record": dict(record)})

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._files.close(descriptor)

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._descriptor is not None, "the journal is not open"
        self._files.write(self._descriptor, json.dumps(line, allow_nan=False).encode() + b"\n")


def read_journal(path: Path) -> JournalContent | None:
    """Read what an earlier run left; None if there is nothing that can be continued."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    whole = data[: data.rfind(b"\n") + 1]
    first, *rest = whole.split(b"\n")
    head = _parsed(first)
    if head is None or head.get("schema") != _SCHEMA:
        return None
    texts = [head.get(key) for key in ("fingerprint", "layout", "folder")]
    if not all(isinstance(text, str) for text in texts):
        return None
    records: dict[str, dict[str, Any]] = {}
    for line in rest:
        entry = _parsed(line)
        if entry and isinstance(entry.get("name"), str) and isinstance(entry.get("record"), dict):
            records[entry["name"]] = entry["record"]
    return JournalContent(JournalHead(*map(str, texts)), records, len(whole))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
