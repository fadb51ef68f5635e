"""Keeps finished results next to an output, so that a second run takes seconds and an interrupted one continues."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.regular_files import read_regular
from mergeometry.sink.failures import explained
from mergeometry.sink.files import FileSystem


class Store:
    """Results by name, valid for one state of everything that they depend on, which ``identity`` identifies."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self.identity = identity

    def read(self, name: str) -> Any | None:
        """The result, or None if there is none for this state, or its file is damaged."""
        try:
            kept = json.loads(read_regular(self._folder / f"{name}.json", limits.SIDECAR_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(kept, dict) or kept.get("identity") != self.identity:
            return None
        result = kept.get("result")
        # What earlier versions kept has no digest.
        return result if kept.get("digest", _digest(result)) == _digest(result) else None

    def write(self, name: str, result: Any) -> None:
        """Keep a result; a reader never sees part of it.

        Raises:
            OutputError: the disk refuses it.
        """
        kept = {"identity": self.identity, "digest": _digest(result), "result": result}
        staged, files = self._folder / f".{name}.{os.getpid()}", FileSystem()
        with explained("a finished result cannot be kept", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            staged.unlink(missing_ok=True)
            descriptor = files.open(staged, create=True)
            try:
                files.write(descriptor, (json.dumps(kept, indent=1) + "\n").encode())
            finally:
                files.close(descriptor)
            files.replace(staged, self._folder / f"{name}.json")


def _digest(result: Any) -> str:
    """SHA-256 of a result as it is read from JSON, where every key is text."""
    plain = json.loads(json.dumps(result))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
