"""SIGTERM and SIGHUP stop a command as Ctrl-C does: a message, an exit status, no worker left, and work to resume."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.cli import main
from mergeometry.execution import compute, pool
from tests.helpers.forked import commands_of, ended, started
from tests.helpers.whole_merges import SHAPES, content, note, noted, write_inputs


def command(folder: Path, *arguments: str) -> None:
    """Run the command line in this process, with a merge so slow that it is always stopped in its middle."""
    with (folder / "said").open("w") as said:
        os.dup2(said.fileno(), sys.stderr.fileno())
    real = compute.compute

    def slow(job: compute.Job) -> compute.Outcome:
        outcome = real(job)
        note(folder / "log", f"done {os.getpid()}")
        if len(noted(folder / "log", "done")) > 2:
            time.sleep(60)
        return outcome

    pool.compute = slow
    note(folder / "log", f"parent {os.getpid()}")
    sys.argv = ["mergeometry", *arguments]
    main()


def stopped(folder: Path, number: int, recipe: dict[str, Any], workers: int) -> tuple[int, str]:
    """Stop a merge by a signal to all its processes; return its exit status, and what it said."""
    (folder / "recipe.json").write_text(json.dumps(recipe))
    arguments = ["merge", str(folder / "recipe.json"), "--output", str(folder / "out"), "--workers", str(workers)]
    process = started(command, folder, *arguments)
    assert process.pid is not None
    # The third tensor never ends, so the first is journalled by then, or soon.
    while process.exitcode is None and (len(noted(folder / "log", "done")) < 3 or not journalled(folder)):
        process.join(0.01)
    os.killpg(process.pid, number)
    status = ended(process)
    assert not [line for line in commands_of(process.pid) if "worker_process" in line], "a worker outlived the command"
    return status, (folder / "said").read_text()


def journalled(folder: Path) -> int:
    journal = folder / ".out.mergeometry-staging" / "journal.jsonl"
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def check(folder: Path, number: int, workers: int) -> None:
    recipe = {**write_inputs(folder), "method": "task_arithmetic"}
    status, said = stopped(folder, number, recipe, workers)
    assert status == 128 + number, said
    assert "the merge was interrupted; nothing was published" in said and "--resume" in said
    assert "Traceback" not in said and not (folder / "out").exists() and journalled(folder)
    kept = journalled(folder)
    merged: list[str] = []
    mg.merge(recipe, folder / "out", workers=1, resume=True, progress=lambda task: merged.append(task.name))
    mg.merge(recipe, folder / "whole", workers=1)
    assert content(folder / "out") == content(folder / "whole") and len(merged) == len(SHAPES) and kept


def test_sigterm_is_a_clean_stop(tmp_path: Path) -> None:
    check(tmp_path, signal.SIGTERM, 1)


@pytest.mark.suite
def test_so_is_a_closed_terminal(tmp_path: Path) -> None:
    check(tmp_path, signal.SIGHUP, 1)


@pytest.mark.suite
def test_no_worker_outlives_the_command(tmp_path: Path) -> None:
    check(tmp_path, signal.SIGTERM, 2)
    assert noted(tmp_path / "log", "parent")[0] not in noted(tmp_path / "log", "done"), "the workers merged"


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    assert ended(started(_ignoring, tmp_path)) == 0


def _ignoring(folder: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.argv = ["mergeometry", "--version"]
    try:
        main()
    finally:
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGTERM))
