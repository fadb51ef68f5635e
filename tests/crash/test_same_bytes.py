"""The same inputs and seed give the same bytes, whatever the workers, the order of their tensors, and the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.execution import pool
from tests.helpers import models

Record = Callable[[str, object], None]
SHAPES = {f"layer.{number}.dense.weight": (24, 16) for number in range(6)} | {"norm.weight": (16,)}
METHODS = ("dare_ties", "dc_merge")

MERGE = """
import json, sys
import mergeometry as mg
recipe, folder = json.loads(sys.argv[1]), sys.argv[2]
for method in sys.argv[4:]:
    print(mg.merge({**recipe, "method": method}, f"{folder}/{method}", workers=int(sys.argv[3])).digest)
"""


def inputs(folder: Path) -> dict[str, Any]:
    return {**models.write_family(folder, 3, shapes=SHAPES), "seed": 7}


def here(recipe: dict[str, Any], folder: Path) -> list[str]:
    return [mg.merge({**recipe, "method": name}, folder / name, workers=1).digest for name in METHODS]


def elsewhere(recipe: dict[str, Any], folder: Path, workers: int, seed: int) -> list[str]:
    """The same in a process of its own, with a hash seed of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MERGE, json.dumps(recipe), str(folder), str(workers), *METHODS],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": str(seed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_tensors_that_are_done_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = inputs(tmp_path)
    wanted = here(recipe, tmp_path / "whole")
    real = pool.side_by_side
    for seed in range(3):

        def shuffled(work: Any, waiting: Any, *more: Any, seed: int = seed) -> Generator[Any]:
            jobs = list(waiting)
            Random(seed).shuffle(jobs)
            waiting.clear()
            waiting.extend(jobs)
            return real(work, waiting, *more)

        monkeypatch.setattr(pool, "side_by_side", shuffled)
        assert here(recipe, tmp_path / str(seed)) == wanted


@pytest.mark.torture
def test_ten_hash_seeds_and_any_number_of_workers(tmp_path: Path, record_property: Record) -> None:
    recipe = inputs(tmp_path)
    wanted = here(recipe, tmp_path / "whole")
    runs = [(1, seed) for seed in range(10)] + [(2, 0), (4, 1)]
    for workers, seed in runs:
        assert elsewhere(recipe, tmp_path / f"{workers}.{seed}", workers, seed) == wanted, (workers, seed)
    record_property("runs of one digest", len(runs) + 1)
