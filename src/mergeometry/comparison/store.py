"""Keeps finished results next to an output, so that a second run takes seconds and an interrupted one continues."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Store:
    """Results by name, valid for one state of everything that they depend on, which ``identity`` identifies."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self.identity = identity

    def read(self, name: str) -> Any | None:
        """The result, or None if there is none for this state."""
        try:
            kept = json.loads((self._folder / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return kept["result"] if kept.get("identity") == self.identity else None

    def write(self, name: str, result: Any) -> None:
        """Keep a result; a reader never sees part of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        staged = self._folder / f".{name}.{os.getpid()}"
        staged.write_text(json.dumps({"identity": self.identity, "result": result}, indent=1) + "\n", "utf-8")
        staged.replace(self._folder / f"{name}.json")
