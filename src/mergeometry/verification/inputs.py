"""Hashes the inputs of a merge again: whatever was read of them then, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from mergeometry.digests import DEFAULT, Algorithm, Hash, algorithm_of
from mergeometry.errors import MergeometryError, SourceError
from mergeometry.execution.input_records import input_records
from mergeometry.plan.plan import Plan, tensors_of
from mergeometry.plan.prepared import prepared_plan
from mergeometry.recipe import load_recipe
from mergeometry.sink import InputRecord, RunRecord
from mergeometry.sink.writer import tensor_bytes
from mergeometry.sources import TensorInfo, TensorReader
from mergeometry.sources.access import Access
from mergeometry.verification.hashing import Hasher
from mergeometry.verification.result import Difference

_PIECE = 1 << 22
_PLAIN = ("checkpoint", "adapter")
"""Kinds of inputs whose path is that of one model."""


class InputCheck:
    """The inputs that a run record names, opened as the merge opened them."""

    def __init__(self, record: RunRecord) -> None:
        self._read = [one for one in record.inputs if one.digest]
        self._algorithm: Algorithm = algorithm_of(record.digest) or DEFAULT
        listed = {label: names for label, names in record.unread.items() if isinstance(names, list | tuple)}
        self._unread = {label: set(map(str, names)) for label, names in listed.items()}
        self._failures = list(_gone(self._read))
        self._plan: Plan | None = None
        self.notes: list[str] = []
        self.count = len(self._read)
        if self._failures:
            self.notes.append("the other inputs were not hashed: a merge reads all of them together")
            return
        try:
            self._plan = prepared_plan(load_recipe(_placed(record)), Access(offline=True))
        except MergeometryError as error:
            place = error.file or "the recipe"
            self._failures.append(Difference("changed", "input", error.model or place, f"{error.what} ({place})"))

    @property
    def nbytes(self) -> int:
        """Bytes to hash."""
        return sum(info.nbytes for _, info in self._tensors())

    def differences(self, hasher: Hasher) -> Iterator[Difference]:
        """Yield every input that is not what it was."""
        yield from self._failures
        if self._plan is None:
            return
        digests: dict[tuple[str, str], str] = {}
        failed: set[str] = set()
        with TensorReader() as reader:
            for label, info in self._tensors():
                try:
                    digests[label, info.name] = _digest(reader, info, hasher, f"{label}: {info.name}", self._algorithm)
                except SourceError as error:
                    failed.add(label)
                    yield Difference("changed", "input", label, f"{error.what} ({info.file})")
        now = {(one.label, one.role): one.digest for one in input_records(self._plan, digests, self._algorithm)}
        for one in self._read:
            if one.label not in failed and now.get((one.label, one.role)) != one.digest:
                yield Difference("changed", "input", one.label, f"other weights than were merged, at {one.path}")

    def _tensors(self) -> Iterator[tuple[str, TensorInfo]]:
        if self._plan is None:
            return
        read = {one.label.partition("[")[0] for one in self._read} | {one.label for one in self._read}
        for model in (self._plan.base, *self._plan.models):
            if model.label in read:
                missed = self._unread.get(model.label, set())
                yield from ((model.label, info) for info in tensors_of(model) if info.name not in missed)


def _gone(inputs: list[InputRecord]) -> Iterator[Difference]:
    for one in inputs:
        if one.kind in _PLAIN and not all(os.path.lexists(part) for part in _parts(one.path)):
            yield Difference("missing", "input", one.label, f"nothing is at {one.path}")


def _parts(path: str) -> list[str]:
    return [path] if os.path.lexists(path) else path.split("+")


def _placed(record: RunRecord) -> dict[str, Any]:
    """The recipe with its models where the merge found them, whatever the current folder is."""
    places = {one.label: one.path for one in record.inputs if one.kind in _PLAIN}
    recipe = dict(record.recipe)
    if isinstance(recipe.get("base"), str):
        recipe["base"] = places.get("base", recipe["base"])
    if isinstance(recipe.get("models"), list):
        recipe["models"] = [
            {**entry, "path": places[entry["name"]]}
            if isinstance(entry, dict) and entry.get("name") in places and isinstance(entry.get("path"), str)
            else entry
            for entry in recipe["models"]
        ]
    return recipe


def _digest(reader: TensorReader, info: TensorInfo, hasher: Hasher, name: str, algorithm: Algorithm) -> str:
    hashed = Hash(algorithm)
    for first in range(0, info.elements, _PIECE):
        data = tensor_bytes(reader.read_range(info, first, min(first + _PIECE, info.elements)))
        hashed.update(data)
        hasher.count(name, len(data))
    return hashed.digest
