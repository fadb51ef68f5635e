"""What a comparison has found out already, kept on disk as soon as it is known: by method, scale and split."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import mergeometry
from mergeometry.comparison.scoring import Scored
from mergeometry.comparison.setup import Setup
from mergeometry.evaluate.store import Store
from mergeometry.execution.finish import safe_name
from mergeometry.execution.run import fingerprint
from mergeometry.plan.tasks import tensors_of
from mergeometry.sink import versions
from mergeometry.sources import Adapter, Checkpoint


class Ledger:
    """Scores by key; a key changes with all that the score depends on, so that nothing stale is ever read.

    Another list of methods or scales goes on with what the two have in common.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        base = _stamps(setup.plans[0].base)
        self.identity = _digest([_code(), versions(), setup.digest, base])
        self._store = Store(folder, self.identity)
        self._entries = [
            f"{safe_name(entry.name)}-{fingerprint(plan)[:16]}"
            for entry, plan in zip(setup.entries, setup.plans, strict=True)
        ]
        self._models = [
            f"expert-{safe_name(model.label)}-{_digest(_stamps(model))[:16]}" for model in setup.plans[0].models
        ]
        self._known: dict[str, Any] = {}

    def base(self, split: str) -> str:
        """Key of the base on a split."""
        return f"base-{split}"

    def expert(self, model: int, split: str) -> str:
        """Key of an expert on its own task."""
        return f"{self._models[model]}-{split}"

    def point(self, entry: int, scale: float, split: str) -> str:
        """Key of a method at a scale."""
        return f"{self._entries[entry]}-{split}-{scale:.10g}"

    def merging(self, entry: int) -> str:
        """Key of what merging by a method took."""
        return f"{self._entries[entry]}-merging"

    def has(self, key: str) -> bool:
        """Whether the result is known, from this run or an earlier one."""
        if key not in self._known and (kept := self._store.read(key)) is not None:
            self._known[key] = kept
        return key in self._known

    def scored(self, key: str) -> Scored:
        """A score that is known."""
        assert self.has(key)
        return Scored.from_json(self._known[key])

    def value(self, key: str) -> Any:
        """Another result that is known."""
        assert self.has(key)
        return self._known[key]

    def keep(self, key: str, value: Any) -> None:
        """Keep a result."""
        self._known[key] = value
        self._store.write(key, value)


def _stamps(model: Checkpoint | Adapter) -> list[Any]:
    return sorted({(str(info.file), *info.stamp) for info in tensors_of(model)})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    """Digest of this package's code: another version may find other figures."""
    files = sorted(Path(mergeometry.__file__).parent.rglob("*.py"))
    return _digest([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
