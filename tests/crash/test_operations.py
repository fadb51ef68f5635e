"""A whole merge dies at each of its operations on files: its output is as before, or whole, and can be completed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.execution.leftovers import remove_leftovers
from tests.helpers import models
from tests.helpers.forked import finished, finished_from_here
from tests.helpers.kinds_of_merges import KINDS
from tests.helpers.whole_merges import content, merge, merge_and_die, note, noted


class Runs:
    """Runs of one merge, each of which dies somewhere and is completed."""

    def __init__(self, folder: Path, kind: str, *, overwrite: bool = False, run: Callable[..., int] = finished) -> None:
        self.folder, self.overwrite, self.run = folder, overwrite, run
        (folder / "inputs").mkdir()
        made = KINDS[kind](folder / "inputs")
        self.recipe, self.name = made.recipe, made.name
        self.options = {**made.options, **({"overwrite": True} if overwrite else {})}
        self.inputs = self.hashes_of_inputs()
        self.whole = self.reference("new", self.recipe)
        self.old = self.reference("old", {**self.recipe, "scale": 0.25}) if overwrite else None
        self.redone = 0

    def hashes_of_inputs(self) -> dict[str, str]:
        return models.file_hashes(self.folder / "inputs")

    def reference(self, place: str, recipe: dict[str, Any]) -> dict[str, str] | None:
        target = self.folder / place / self.name
        assert self.run(merge, recipe, target, self.folder / "log", **self.options) == 0
        return content(target)

    def target(self, place: object) -> Path:
        """Where a run writes; with ``overwrite``, an earlier output lies there."""
        folder = self.folder / str(place)
        if self.overwrite:
            shutil.copytree(self.folder / "old", folder)
        else:
            folder.mkdir()
        return folder / self.name

    def count(self) -> int:
        """How many operations a whole run has."""
        log = self.folder / "count"
        assert self.run(merge_and_die, self.recipe, self.target("counted"), log, None, "die", **self.options) == 0
        return int(noted(log, "operations")[0])

    def die(self, place: int, mode: str) -> str:
        """Die at an operation, then complete the merge; say whether the output was old or new in between."""
        target, log, later = self.target(place), self.folder / "first", self.folder / "second"
        status = self.run(merge_and_die, self.recipe, target, log, place, mode, **self.options)
        assert status == (0 if mode == "fail" else -9), (place, status)
        state = content(target)
        assert state in (self.old, self.whole), f"half an output after operation {place}"
        if state != self.whole:
            assert self.run(merge, self.recipe, target, later, resume=True, **self.options) == 0
            again = set(noted(log, "done")) & set(noted(later, "begun"))
            self.redone = max(self.redone, len(again))
            assert len(again) <= 1 if mode != "fail" else True, (place, again)
        remove_leftovers(target)
        assert content(target) == self.whole, place
        left = {path.name for path in target.parent.iterdir()}
        assert left <= {self.name, "out.mergeometry.json"}, (place, left)
        shutil.rmtree(target.parent)
        for each in (log, later):
            each.unlink(missing_ok=True)
        return "new" if state == self.whole else "old"


Record = Callable[[str, object], None]


@pytest.mark.suite
def test_death_at_every_operation(tmp_path: Path) -> None:
    runs = Runs(tmp_path, "folder")
    count = runs.count()
    states = [runs.die(place, "die") for place in range(count)]
    assert count > 40 and set(states) == {"old", "new"}
    assert states == sorted(states, reverse=True), "once the output is new it stays so"
    assert runs.hashes_of_inputs() == runs.inputs


@pytest.mark.torture
@pytest.mark.parametrize(
    ("kind", "mode", "overwrite"),
    [
        *((kind, "die", False) for kind in ("folder", "adapter", "file", "residuals", "gguf")),
        *((kind, "die", True) for kind in ("folder", "file", "residuals")),
        *((kind, "half", False) for kind in ("folder", "residuals")),
        *((kind, "fail", False) for kind in ("folder", "file", "residuals", "gguf")),
    ],
)
def test_every_kind_of_output(tmp_path: Path, kind: str, mode: str, overwrite: bool, record_property: Record) -> None:
    runs = Runs(tmp_path, kind, overwrite=overwrite)
    count = runs.count()
    states = {runs.die(place, mode) for place in range(count)}
    assert "old" in states and runs.hashes_of_inputs() == runs.inputs
    record_property("operations", count)
    record_property("tensors done again", runs.redone)


def search_and_die(folder: Path, mode: str, log: Path) -> None:
    """The same of a search, in processes forked from one that has loaded what runs models."""
    made = KINDS["search"](folder)
    mg.merge(made.recipe, folder / "loads", workers=1)
    runs = Runs(folder, "search", run=finished_from_here)
    count = runs.count()
    assert "old" in {runs.die(place, mode) for place in range(count)} and runs.hashes_of_inputs() == runs.inputs
    note(log, f"found {count} {runs.redone}")


@pytest.mark.torture
@pytest.mark.parametrize("mode", ["die", "half", "fail"])
def test_a_search_before_the_merge(tmp_path: Path, mode: str, record_property: Record) -> None:
    pytest.importorskip("transformers")
    assert finished(search_and_die, tmp_path, mode, tmp_path / "found") == 0
    (counts,) = noted(tmp_path / "found", "found")
    for name, value in zip(("operations", "tensors done again"), counts.split(), strict=True):
        record_property(name, int(value))
