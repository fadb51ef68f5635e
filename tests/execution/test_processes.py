"""Worker processes change nothing but the time: same bytes, clean stops, no half outputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import ExecutionError, NumericalError
from tests.helpers import models


def large_family(folder: Path, count: int = 2) -> dict[str, Any]:
    shapes = {f"layer.{number}.dense.weight": (96, 64) for number in range(8)} | models.SHAPES
    return models.write_family(folder, count=count, shapes=shapes)


def python(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], seconds: float = 90) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


MERGE = """
import json, sys
import mergeometry as mg
run = mg.merge(json.loads(sys.argv[1]), sys.argv[2], workers=int(sys.argv[3]))
print(run.digest)
"""
"""A script without a main guard."""


def test_workers_hash_seeds_and_scripts_without_a_guard(tmp_path: Path) -> None:
    recipe = {**large_family(tmp_path), "method": "dc_merge"}
    mg.merge(recipe, tmp_path / "one", workers=1)
    wanted = models.weight_hashes(tmp_path / "one")
    script = tmp_path / "script.py"
    script.write_text(MERGE)
    process = subprocess.run(
        [sys.executable, str(script), json.dumps(recipe), str(tmp_path / "three"), "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert process.returncode == 0, process.stderr
    assert models.weight_hashes(tmp_path / "three") == wanted


def test_the_order_of_files_on_disk_means_nothing(tmp_path: Path) -> None:
    digests = set()
    for order in (1, -1):
        base = models.random_tensors(0)
        folder = tmp_path / f"order{order}"
        for name in ["base", "task0", "task1"][::order]:
            tensors = base if name == "base" else models.tuned(base, int(name[-1]))
            models.write_shards(folder / name, dict(list(tensors.items())[::order]), 2 if order == 1 else 3)
        recipe = {"base": str(folder / "base"), "models": [str(folder / f"task{number}") for number in (0, 1)]}
        digests.add(mg.merge({**recipe, "method": "mda"}, folder / "out", workers=1).digest)
    assert len(digests) == 1


def test_an_error_of_a_worker_arrives_whole(tmp_path: Path) -> None:
    family = large_family(tmp_path)
    whole = models.loaded(tmp_path / "task1")
    whole["layer.5.dense.weight"][3, 3] = float("nan")
    models.write_model(tmp_path / "task1", whole)
    with pytest.raises(NumericalError) as caught:
        mg.merge({**family, "method": "tsv_m"}, tmp_path / "out", workers=2)
    assert (caught.value.model, caught.value.tensor) == ("task1", "layer.5.dense.weight")
    assert "1 of 6144 values" in str(caught.value) and not (tmp_path / "out").exists()


DYING = """
import json, os, signal, sys
import mergeometry as mg
from mergeometry.execution import pool
def die(job):
    os.kill(os.getpid(), signal.SIGKILL)
pool.compute = die
try:
    mg.merge(json.loads(sys.argv[1]), sys.argv[2], workers=2)
except mg.MergeometryError as error:
    print(type(error).__name__, error)
"""


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    recipe = {**large_family(tmp_path), "method": "average"}
    code, out, err = finished(python(DYING, json.dumps(recipe), tmp_path / "out"))
    assert code == 0, err
    assert out.startswith("ExecutionError a worker process died") and "--workers" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "task0", "task1"]


SLOW = """
import json, signal, sys, time
# What a shell starts in the background ignores the signal, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
import mergeometry as mg
from mergeometry.execution import compute, pool
real = compute.compute
def slow(job):
    outcome = real(job)
    time.sleep(1.0)
    return outcome
pool.compute = slow
def said(task):
    print(task.name, flush=True)
try:
    mg.merge(json.loads(sys.argv[1]), sys.argv[2], workers=2, progress=said)
except mg.MergeometryError as error:
    print(type(error).__name__, error)
    sys.exit(130)
"""


@pytest.mark.parametrize("whole_group", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_group: bool
) -> None:
    recipe = {**large_family(tmp_path), "method": "dc_merge"}
    process = python(SLOW, json.dumps(recipe), tmp_path / "out")
    assert process.stdout is not None
    done = [process.stdout.readline().strip() for _ in range(3)]
    # A terminal's Ctrl-C reaches the workers as well, a job scheduler's signal the parent alone.
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    started = time.monotonic()
    code, out, err = finished(process)
    assert code == 130, err
    assert "Interrupted" in out and "--resume" in out and time.monotonic() - started < 60
    assert not (tmp_path / "out").exists()
    from mergeometry.execution import compute, pool

    computed: list[str] = []
    real = compute.compute
    monkeypatch.setattr(pool, "compute", lambda job: (computed.append(job.task.name), real(job))[1])
    mg.merge(recipe, tmp_path / "out", workers=1, resume=True)
    mg.merge(recipe, tmp_path / "whole", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "whole")
    again = computed[: len(computed) - len(mg.make_plan(recipe).tasks)]
    assert not set(done) & set(again)


def test_a_killed_run_leaves_no_workers(tmp_path: Path) -> None:
    recipe = {**large_family(tmp_path), "method": "dc_merge"}
    process = python(SLOW, json.dumps(recipe), tmp_path / "out")
    assert process.stdout is not None and process.stdout.readline()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while (left := _group(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, left
    assert not (tmp_path / "out").exists()
    mg.merge(recipe, tmp_path / "out", workers=1, resume=True)
    mg.merge(recipe, tmp_path / "whole", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "whole")


def _group(leader: int) -> list[str]:
    """Command lines of the living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    run = mg.merge({**models.write_family(tmp_path), "method": "average"}, tmp_path / "out", workers=1)
    assert run.totals.peak_memory < 4e9
    with pytest.raises(ExecutionError, match="interrupted"):
        mg.merge({**models.write_family(tmp_path), "method": "ties"}, tmp_path / "next", workers=1, progress=_interrupt)


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt
