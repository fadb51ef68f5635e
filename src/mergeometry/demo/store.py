"""Keeps finished results beside the output, so that a second run takes seconds and an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mergeometry
from mergeometry.sink import versions
from mergeometry.suite.command import load_expert
from mergeometry.suite.experts import ADAPTER, HEAD


class Store:
    """Results by name, each valid for one state of code, experts, texts and libraries only."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self.identity = identity

    def read(self, name: str) -> Any | None:
        """The result, or None where there is none of this state."""
        try:
            kept = json.loads((self._folder / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return kept["result"] if kept.get("identity") == self.identity else None

    def write(self, name: str, result: Any) -> None:
        """Keep a result; a reader never sees half of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        staged = self._folder / f".{name}.{os.getpid()}"
        staged.write_text(json.dumps({"identity": self.identity, "result": result}, indent=1) + "\n", "utf-8")
        staged.replace(self._folder / f"{name}.json")


def identity_of(tasks: Sequence[str], settings: Any) -> str:
    """Digest of all that a result depends on: this package's code, the experts, the settings, the libraries."""
    digest = hashlib.sha256(json.dumps([versions(), list(tasks), settings], sort_keys=True).encode())
    package = Path(mergeometry.__file__).parent
    files = sorted(package.rglob("*.py"))
    for task in tasks:
        folder = load_expert(task).folder
        files += [folder / ADAPTER, folder / HEAD]
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
