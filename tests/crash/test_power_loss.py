"""The power fails at every operation of a whole merge: no published folder is incomplete, and a rerun completes it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import OutputError
from mergeometry.sink import remove_stale, staging, writer
from tests.helpers.power_loss import Disk, RecordingFileSystem
from tests.helpers.whole_merges import content, write_inputs

Record = Callable[[str, object], None]
Reached = Callable[[object], bool]


class Recorded:
    """A merge of which every operation is known, and the disk that it writes to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], adapters: int = 0) -> None:
        self.folder, self.place = folder, folder / "disk"
        self.recipe = {**write_inputs(folder, adapters=adapters), "method": "task_arithmetic", **keys}
        self.files = RecordingFileSystem()
        self.place.mkdir()
        with monkeypatch.context() as patch:
            for module in (staging, writer):
                patch.setattr(module, "FileSystem", lambda: self.files)
            mg.merge(self.recipe, self.place / "out", workers=1)
        self.whole = content(self.place / "out")
        self.states = 0

    def check(self, every: int, mixtures: int) -> None:
        """Let the power fail after every ``every``-th operation; ``mixtures`` of what reached the disk are drawn."""
        disk, chance = Disk(self.place), random.Random(0)
        for number, operation in enumerate(self.files.log):
            disk.apply(*operation)
            if number % every == 0 or number == len(self.files.log) - 1:
                for reached in drawn(chance, mixtures):
                    self._complete(disk, reached, number)

    def _complete(self, disk: Disk, reached: Reached, number: int) -> None:
        shutil.rmtree(self.place)
        disk.restore(self.place, reached)
        self.states += 1
        state = content(self.place / "out")
        assert state in (None, self.whole), f"an incomplete output after operation {number}"
        if state is None:
            mg.merge(self.recipe, self.place / "out", workers=1, resume=True)
        else:
            with pytest.raises(OutputError, match="exists already"):
                mg.merge(self.recipe, self.place / "out", workers=1, resume=True)
            remove_stale(self.place / "out")
        assert content(self.place / "out") == self.whole, number
        assert [path.name for path in self.place.iterdir()] == ["out"], number


def drawn(chance: random.Random, count: int) -> Iterator[Reached]:
    """What may have reached the disk without being synced: all, nothing, and some of it."""
    yield lambda node: True
    yield lambda node: False
    for _ in range(count):
        choice: dict[int, bool] = {}
        yield lambda node, choice=choice: choice.setdefault(id(node), chance.random() < 0.5)


@pytest.mark.suite
def test_the_power_fails_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(tmp_path, monkeypatch, {})
    recorded.check(every=6, mixtures=1)
    assert len(recorded.files.log) > 30 and recorded.states > 15


@pytest.mark.torture
@pytest.mark.parametrize("kind", ["models", "adapter"])
def test_the_power_fails_after_every_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, record_property: Record
) -> None:
    keys = {"output": {"adapter": True}} if kind == "adapter" else {}
    recorded = Recorded(tmp_path, monkeypatch, keys, adapters=2 if kind == "adapter" else 0)
    recorded.check(every=1, mixtures=4)
    record_property("operations", len(recorded.files.log))
    record_property("states after a power loss", recorded.states)
