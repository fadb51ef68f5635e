"""What interrupted runs left is listed and removed; what a live run works on is not touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mergeometry.execution.leftovers import ACTIVATIONS, leftovers
from mergeometry.execution.scratch import scratch_folder
from mergeometry.sink.files import FileSystem
from mergeometry.sink.lock import RunLock
from tests.helpers.commands import invoke

NAME = "out[1]*"
"""A name that is a pattern."""


def left(folder: Path, name: str, **files: int) -> Path:
    place = folder / name
    place.mkdir()
    for file, count in files.items():
        (place / file).write_bytes(b"x" * count)
    return place


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, Path]:
    """All that runs can leave beside one output, and what only looks like it."""
    left(tmp_path, f"{ACTIVATIONS.format(name='other')}999999999-a", moments=10)
    left(tmp_path, f"{ACTIVATIONS.format(name='out1x')}999999999-a", moments=10)
    return {
        "staged": left(tmp_path, f".{NAME}.mergeometry-staging", lock=0, journal=100),
        "learning": left(tmp_path, f".{NAME}.mergeometry-learning", lock=0, state=200),
        "stages": left(tmp_path, f".{NAME}.stages", lock=0, first=50),
        "locked": left(tmp_path, f"{ACTIVATIONS.format(name=NAME)}{os.getpid()}-b", lock=0, moments=300),
        "process": left(tmp_path, f"{ACTIVATIONS.format(name=NAME)}999999999-a", moments=400),
    }


def test_everything_is_listed_then_removed(tmp_path: Path, everything: dict[str, Path]) -> None:
    target = tmp_path / NAME
    shown = json.loads(invoke("clean", target, "--dry-run", "--json").stdout)
    assert {row["path"] for row in shown["found"]} == {str(path) for path in everything.values()}
    assert sum(row["bytes"] for row in shown["found"]) == 1050 and not shown["removed"]
    assert all(path.is_dir() for path in everything.values())
    done = invoke("clean", target)
    assert done.exit_code == 0 and "activations, 400 B" in done.stdout and "removed what was staged" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{ACTIVATIONS.format(name=name)}999999999-a" for name in ("other", "out1x")
    )
    assert "nothing was staged" in invoke("clean", target).stdout


@pytest.mark.parametrize("name", ["staged", "learning", "stages"])
def test_a_live_run_is_left_alone(tmp_path: Path, everything: dict[str, Path], name: str) -> None:
    lock = RunLock(everything[name], FileSystem())
    lock.acquire()
    done = invoke("clean", tmp_path / NAME)
    assert done.exit_code == 1 and "another run" in done.stderr and len(list(everything[name].iterdir())) == 2
    lock.release()


def test_activations_of_a_live_run_on_another_machine(tmp_path: Path) -> None:
    """On a shared disk the number of its process means nothing here; its lock does."""
    prefix = ACTIVATIONS.format(name="out")
    with scratch_folder(tmp_path, prefix) as folder:
        (folder / "moments").touch()
        elsewhere = folder.rename(tmp_path / f"{prefix}999999999-c")
        assert leftovers(tmp_path / "out") == []
        with scratch_folder(tmp_path, prefix):
            assert (elsewhere / "moments").exists()
        elsewhere.rename(folder)
    assert list(tmp_path.iterdir()) == []


def test_parts_of_the_cache_that_were_never_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    (tmp_path / "packages").mkdir()
    old = left(tmp_path / "packages", ".fetching-old", archive=70)
    young = left(tmp_path / "packages", ".fetching-young", archive=70)
    kept = left(tmp_path / "packages", "wordnet", data=70)
    for path in (old / "archive", old, kept / "data", kept):
        os.utime(path, (0, 0))
    assert invoke("clean").exit_code == 2
    done = invoke("clean", "--cache")
    assert done.exit_code == 0 and ".fetching-old: never completed, 70 B" in done.stdout
    assert not old.exists() and young.exists() and kept.exists()
