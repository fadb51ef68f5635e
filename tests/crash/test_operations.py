"""A whole merge dies at each of its operations on files: its output is as before, or whole, and can be completed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergeometry.sink import remove_stale
from tests.helpers import models
from tests.helpers.forked import finished
from tests.helpers.whole_merges import content, merge, merge_and_die, noted, write_inputs

KINDS: dict[str, dict[str, Any]] = {
    "folder": {},
    "adapter": {"output": {"adapter": True}, "method": "dc_merge"},
    "file": {},
}


class Runs:
    """Runs of one merge, each of which dies somewhere and is completed."""

    def __init__(self, folder: Path, kind: str, *, overwrite: bool = False) -> None:
        self.folder, self.overwrite = folder, overwrite
        inputs = write_inputs(folder, adapters=2 if kind == "adapter" else 0)
        self.recipe = {**inputs, "method": "task_arithmetic", "scale": 0.5, **KINDS[kind]}
        self.name = "out.safetensors" if kind == "file" else "out"
        if kind == "file":
            for place in ("base", "task0", "task1"):
                whole = models.loaded(folder / place)
                shutil.rmtree(folder / place)
                models.write_model(folder / place, whole)
            base, first, second = (str(folder / place / "model.safetensors") for place in ("base", "task0", "task1"))
            self.recipe |= {"base": base, "models": [{"path": first, "name": "one"}, {"path": second, "name": "two"}]}
        self.inputs = self.hashes_of_inputs()
        self.whole = self.reference(0.5)
        self.old = self.reference(0.25) if overwrite else None
        self.redone = 0

    def hashes_of_inputs(self) -> list[dict[str, str]]:
        return [models.file_hashes(self.folder / place) for place in ("base", "task0", "task1")]

    def reference(self, scale: float) -> dict[str, str] | None:
        target = self.folder / f"reference{scale}" / self.name
        assert finished(merge, {**self.recipe, "scale": scale}, target, self.folder / "log") == 0
        return content(target)

    def target(self, place: object) -> Path:
        """Where a run writes; with ``overwrite``, an earlier output lies there."""
        folder = self.folder / str(place)
        if self.overwrite:
            shutil.copytree(self.folder / "reference0.25", folder)
        else:
            folder.mkdir()
        return folder / self.name

    def count(self) -> int:
        """How many operations a whole run has."""
        log = self.folder / "count"
        assert finished(merge_and_die, self.recipe, self.target("counted"), log, None, "die", **self.options()) == 0
        return int(noted(log, "operations")[0])

    def options(self) -> dict[str, Any]:
        return {"overwrite": True} if self.overwrite else {}

    def die(self, place: int, mode: str) -> str:
        """Die at an operation, then complete the merge; say whether the output was old or new in between."""
        target, log, later = self.target(place), self.folder / "first", self.folder / "second"
        status = finished(merge_and_die, self.recipe, target, log, place, mode, **self.options())
        assert status == (0 if mode == "fail" else -9), (place, status)
        state = content(target)
        assert state in (self.old, self.whole), f"half an output after operation {place}"
        if state != self.whole:
            assert finished(merge, self.recipe, target, later, resume=True, **self.options()) == 0
            again = set(noted(log, "done")) & set(noted(later, "begun"))
            self.redone = max(self.redone, len(again))
            assert len(again) <= 1 if mode != "fail" else True, (place, again)
        remove_stale(target)
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
        *((kind, "die", False) for kind in KINDS),
        ("folder", "die", True),
        ("file", "die", True),
        ("folder", "half", False),
        ("folder", "fail", False),
        ("file", "fail", False),
    ],
)
def test_every_kind_of_output(tmp_path: Path, kind: str, mode: str, overwrite: bool, record_property: Record) -> None:
    runs = Runs(tmp_path, kind, overwrite=overwrite)
    count = runs.count()
    states = {runs.die(place, mode) for place in range(count)}
    assert "old" in states and runs.hashes_of_inputs() == runs.inputs
    record_property("operations", count)
    record_property("tensors done again", runs.redone)
