"""Homes, clocks, locks, open files and folders that are not as they should be: survived, or told in one error."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mergeometry.cli import main
from mergeometry.sink.target import staging_folder
from tests.helpers import models
from tests.helpers.forked import finished
from tests.helpers.whole_merges import content, write_inputs


def command(folder: Path, arguments: list[str], prepare: Callable[[Path], None]) -> None:
    """Run the command line in this process, once the environment is spoilt; what it says goes into a file."""
    with (folder / "said").open("w") as said:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(said.fileno(), stream.fileno())
    sys.argv = ["mergeometry", *arguments]
    prepare(folder)
    main()


def ran(folder: Path, prepare: Callable[[Path], None], *arguments: str | Path) -> tuple[int, str]:
    status = finished(command, folder, [str(argument) for argument in arguments], prepare)
    said = (folder / "said").read_text()
    assert "Traceback" not in said, said
    return status, said


def recipe_of(folder: Path, inputs: dict[str, Any], **keys: Any) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps({**inputs, "method": "task_arithmetic", **keys}))
    return path


def no_home(folder: Path) -> None:
    for name in ("MERGEOMETRY_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/proc/nobody"


def a_file_for_a_cache(folder: Path) -> None:
    no_home(folder)
    (folder / "cache").write_text("not a folder")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")


def nobody(folder: Path) -> None:
    """Become a user whom the system does not know, without a home, as containers start processes."""
    no_home(folder)
    del os.environ["HOME"]

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    pwd.getpwuid = unknown


def without_privileges(_: Path) -> None:
    """Give up what lets root pass over permissions, if this is root."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.parametrize("prepare", [pytest.param(no_home, marks=pytest.mark.suite), a_file_for_a_cache])
def test_a_merge_needs_no_home_and_no_cache(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    recipe = recipe_of(tmp_path, write_inputs(tmp_path))
    for arguments in (["plan", recipe], ["merge", recipe, "--output", tmp_path / "out"]):
        status, said = ran(tmp_path, prepare, *arguments)
        assert status == 0, said
    assert (tmp_path / "out" / "mergeometry.json").exists()


@pytest.mark.suite
def test_what_needs_a_cache_says_how_to_choose_one(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    torch.save(models.loaded(tmp_path / "task0"), pickled / "pytorch_model.bin")
    recipe = recipe_of(tmp_path, {**inputs, "models": [str(pickled), inputs["models"][1]]})
    options = ["--output", tmp_path / "out", "--allow-pickle"]
    for prepare in (a_file_for_a_cache, no_home, nobody):
        status, said = ran(tmp_path, prepare, "merge", recipe, *options)
        assert status == 1 and "MERGEOMETRY_CACHE" in said, said
        assert not (tmp_path / "out").exists()


@pytest.mark.suite
def test_a_user_without_a_name_or_home_merges(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, write_inputs(tmp_path))
    status, said = ran(tmp_path, nobody, "merge", recipe, "--output", tmp_path / "out")
    assert status == 0, said


def backwards(_: Path) -> None:
    """Let every look at the wall clock find an earlier time."""
    now = [2e9]

    def earlier() -> float:
        now[0] -= 1000.0
        return now[0]

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)


@pytest.mark.suite
def test_a_clock_that_jumps_back_changes_nothing(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    recipe = recipe_of(tmp_path, inputs)
    assert ran(tmp_path, as_it_is, "merge", recipe, "--output", tmp_path / "whole")[0] == 0
    for number, place in enumerate([inputs["base"], *inputs["models"]]):
        for file in Path(place).iterdir():
            os.utime(file, [(0, 0), (4e9, 4e9), (-1, -1)][number])
    status, said = ran(tmp_path, backwards, "merge", recipe, "--output", tmp_path / "out")
    assert status == 0, said
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    seconds = json.loads((tmp_path / "out" / "mergeometry.json").read_text())["totals"]["seconds"]
    assert 0 < seconds < 600


def as_it_is(_: Path) -> None:
    """Spoil nothing."""


@pytest.mark.suite
def test_the_lock_of_a_dead_run_holds_nobody_up(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, write_inputs(tmp_path))
    staging = staging_folder(tmp_path / "out")
    staging.mkdir()
    (staging / "lock").write_text("4711\n")
    (staging / "folder-left").mkdir()
    (staging / "folder-left" / "model.safetensors").write_bytes(b"half")
    status, said = ran(tmp_path, as_it_is, "merge", recipe, "--output", tmp_path / "out")
    assert status == 0, said
    assert not staging.exists() and (tmp_path / "out").is_dir()


def few_open_files(_: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def sharded(folder: Path, count: int, shards: int) -> dict[str, Any]:
    shapes = {f"layer.{number}.dense.weight": (4, 4) for number in range(shards)}
    base = models.random_tensors(0, shapes=shapes)
    models.write_shards(folder / "base", base, shards)
    for number in range(count):
        models.write_shards(folder / f"task{number}", models.tuned(base, number), shards)
    return {"base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in range(count)]}


@pytest.mark.suite
@pytest.mark.parametrize(
    ("workers", "keys"), [("1", {"scale": "auto"}), ("1", {"output": {"shard_size": "1MB"}}), ("2", {})]
)
def test_eight_sharded_models_in_sixty_four_open_files(tmp_path: Path, workers: str, keys: dict[str, Any]) -> None:
    recipe = recipe_of(tmp_path, sharded(tmp_path, 8, 20), **keys)
    options = ["--output", tmp_path / "out", "--workers", workers]
    status, said = ran(tmp_path, few_open_files, "merge", recipe, *options)
    assert status == 0, said


@pytest.mark.suite
def test_inputs_that_may_only_be_read(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, adapters=1)
    recipe = recipe_of(tmp_path, inputs)
    for place in (inputs["base"], *inputs["models"]):
        for path in [*Path(place).iterdir(), Path(place)]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    before = [models.file_hashes(Path(place)) for place in (inputs["base"], *inputs["models"])]
    status, said = ran(tmp_path, without_privileges, "merge", recipe, "--output", tmp_path / "out")
    assert status == 0, said
    assert before == [models.file_hashes(Path(place)) for place in (inputs["base"], *inputs["models"])]
    inside = Path(inputs["base"]) / "out"
    assert ran(tmp_path, without_privileges, "merge", recipe, "--output", inside)[0] == 1


@pytest.mark.suite
def test_odd_interpreters_locales_and_terminals_change_no_byte(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, write_inputs(tmp_path))
    odd: list[tuple[list[str], dict[str, str]]] = [
        ([], {}), (["-OO"], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (["-X", "dev", "-W", "error"], {"LC_ALL": "tr_TR.UTF-8", "COLUMNS": "1", "NO_COLOR": "1", "TZ": "nowhere/:"}),
        ([], {"OMP_NUM_THREADS": "many", "TMPDIR": "/nowhere", "COLUMNS": "wide", "LONG": "x" * 120_000}),
    ]  # fmt: skip
    contents = []
    for number, (options, environment) in enumerate(odd):
        out = tmp_path / f"out{number}"
        command = [sys.executable, *options, "-m", "mergeometry", "merge", str(recipe), "--no-report", "--workers", "1"]
        done = subprocess.run(
            [*command, "--output", str(out)], env={**os.environ, **environment}, capture_output=True, check=False
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
        contents.append(models.weight_hashes(out))
    assert all(one == contents[0] for one in contents)


def gone(folder: Path) -> None:
    """Stand in a folder that somebody removed."""
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()


@pytest.mark.suite
def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, write_inputs(tmp_path))
    status, said = ran(tmp_path, gone, "merge", recipe, "--output", "out")
    assert status == 1 and "the current folder was removed" in said, said
    status, said = ran(tmp_path, gone, "merge", recipe, "--output", tmp_path / "out", "--workers", "2")
    assert status == 1 and "--workers 1" in said, said
    status, said = ran(tmp_path, gone, "merge", recipe, "--output", tmp_path / "out", "--workers", "1")
    assert status == 0, said
