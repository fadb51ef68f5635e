"""SIGKILL at random moments, again and again: each run goes on where the last one died, to the same bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from mergeometry.sink import remove_stale
from tests.helpers.forked import finished, kill_group, started
from tests.helpers.whole_merges import SHAPES, content, merge, noted, write_inputs

Record = Callable[[str, object], None]


class Loop:
    """One merge after another, of which each is killed until it is complete."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers = folder, workers
        self.recipe: dict[str, Any] = {**write_inputs(folder), "method": "task_arithmetic"}
        assert self.merged(folder / "first") == 0
        before = time.monotonic()
        assert self.merged(folder / "reference") == 0
        self.seconds = time.monotonic() - before
        self.whole = content(folder / "reference")
        self.kills = self.completed = self.most_redone = 0

    def merged(self, target: Path) -> int:
        return finished(merge, self.recipe, target, self.folder / "log", workers=self.workers)

    def kill(self, times: int, seed: int) -> None:
        chance = random.Random(seed)
        while self.kills < times:
            self._complete(self.folder / str(self.completed), chance, times)

    def _complete(self, target: Path, chance: random.Random, times: int) -> None:
        """Start one merge until it ends by itself; the last kill comes before that, or never."""
        done: set[str] = set()
        for number in range(1_000):
            log = self.folder / f"{target.name}.{number}"
            process = started(merge, self.recipe, target, log, workers=self.workers, resume=True)
            if self.kills < times:
                self._wait(process, log, chance)
            else:
                process.join(120)
            killed = process.exitcode is None
            kill_group(process)
            state = content(target)
            assert state in (None, self.whole), f"half an output after kill {self.kills}"
            self.most_redone = max(self.most_redone, len(done & set(noted(log, "begun"))))
            done |= set(noted(log, "done"))
            self.kills += killed
            if state == self.whole:
                break
            assert killed, (process.exitcode, log.read_text())
        remove_stale(target)
        assert not list(self.folder.glob(f".{target.name}.*"))
        self.completed += 1

    def _wait(self, process: ForkServerProcess, log: Path, chance: random.Random) -> None:
        """Wait for the moment of a kill: any in the life of one process; with workers, one at which they merge.

        Starting workers takes longer than all that they do here, so that few moments of all would hit their work.
        """
        if self.workers == 1:
            process.join(chance.uniform(0, 1.2 * self.seconds))
            return
        wanted = chance.randint(1, len(SHAPES))
        while process.exitcode is None and len(noted(log, "begun")) < wanted:
            process.join(0.001)
        process.join(chance.uniform(0, 0.01))


def test_a_handful_of_kills(tmp_path: Path) -> None:
    loop = Loop(tmp_path, workers=1)
    loop.kill(5, seed=0)
    assert loop.kills == 5 and loop.completed >= 1 and loop.most_redone <= 1


@pytest.mark.torture
@pytest.mark.parametrize(("workers", "kills"), [(1, 200), (2, 10)])
def test_two_hundred_kills(tmp_path: Path, workers: int, kills: int, record_property: Record) -> None:
    # One job more than there are workers is handed out, so that none of them waits: it too may be done and not noted.
    loop = Loop(tmp_path, workers)
    loop.kill(kills, seed=1)
    assert loop.kills == kills and loop.most_redone <= workers + (workers > 1)
    record_property("kills", loop.kills)
    record_property("merges completed", loop.completed)
    record_property("tensors done again per kill, at most", loop.most_redone)
