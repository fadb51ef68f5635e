"""The saved records of full fine-tunes; the fine-tunes themselves are only in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mergeometry.errors import DataError


def collect(kept: Path, tasks: Iterable[str], record: Callable[[str], Any]) -> dict[str, Any]:
    """Save the record of every task whose fine-tune is in the cache, and return them with those saved before."""
    found = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    ordered = {}
    for name in tasks:
        try:
            ordered[name] = record(name)
        except DataError:  # not trained on this machine
            if name in found:
                ordered[name] = found[name]
    kept.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    return ordered
