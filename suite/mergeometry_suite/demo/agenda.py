"""What a run of the demo fetches, computes and writes, known before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.cache import cache_folder
from mergeometry.comparison.store import Store
from mergeometry_suite.demo.choice import START_SECONDS, Choice
from mergeometry_suite.demo.entries import Entry
from mergeometry_suite.demo.rows import ENDS
from mergeometry_suite.demo.store import identities_of
from mergeometry_suite.demo.work import file_name
from mergeometry_suite.packages import MINILM, Package, is_fetched

_MODEL_BYTES = 91e6  # the backbone's tensors in 32 bit


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is there already, and what is left to do."""

    choice: Choice
    output: Path
    packages: tuple[Package, ...]
    """What the cache lacks."""
    kept: Mapping[str, Any]
    """Results of earlier runs, by row."""
    due: tuple[Entry | None, ...]
    """Rows to compute; None stands for the two ends."""
    stores: Mapping[str, Store]

    @property
    def cache(self) -> Path:
        """Where packages are kept."""
        return cache_folder()

    @property
    def fetched_bytes(self) -> int:
        """What is fetched, from the package index."""
        return sum(package.size or 0 for package in self.packages)

    @property
    def written_bytes(self) -> float:
        """What merged models take."""
        return _MODEL_BYTES * sum(entry is not None for entry in self.due)

    @property
    def texts(self) -> int:
        """How many texts are scored at most."""
        return sum(self.choice.texts_for(entry) for entry in self.due)

    def seconds(self, workers: int) -> float:
        """How long computing takes once everything is fetched, by estimate."""
        starting = START_SECONDS if self.due else 0.0
        return starting + sum(self.choice.seconds_for(entry) for entry in self.due) / workers


def look(choice: Choice, output: Path) -> Agenda:
    """Look at the cache and at what earlier runs have left in ``output``; fetches and computes nothing.

    Raises:
        DataError: an expert is missing.
    """
    rows: list[Entry | None] = [None, *choice.entries]
    asked = [choice.validation_texts, choice.test_texts, list(choice.scales)]
    stores, kept, due = {}, {}, []
    for entry, identity in zip(rows, identities_of(choice.task_names, asked, rows), strict=True):
        name = row_name(entry)
        stores[name] = Store(output / "results", identity)
        result = stores[name].read(file_name(name))
        if result is not None and (entry is None or (output / "merged" / file_name(name)).is_dir()):
            kept[name] = result
        else:
            due.append(entry)
    needed = dict.fromkeys([MINILM, *(task.package for task in choice.tasks)])
    packages = tuple(package for package in needed if not is_fetched(package))
    return Agenda(choice, output, packages, kept, tuple(due), stores)


def row_name(entry: Entry | None) -> str:
    """The name of a row, or of the two ends."""
    return ENDS if entry is None else entry.name
