"""Commands end in plain words where their output cannot be written, and work goes on where progress cannot be."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import mergeometry as mg
from mergeometry.cli.streams import Unfailing
from tests.helpers import models
from tests.helpers.commands import invoke

MERGE = "merge --base base --model 'tä😀' --model task1 --method average --output 'ö😀'"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    models.write_family(folder, count=2)
    (folder / "task0").rename(folder / "tä😀")
    return folder


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("--version >&-", 0, ""),
        ("--version > /dev/full", 1, "standard output cannot be written: No space left"),
        ("--help > /dev/full", 1, "standard output cannot be written: No space left"),
        (f"{MERGE}-1 > /dev/full", 1, "the output is in its place, and whole; standard output cannot be written"),
        pytest.param(f"{MERGE}-2 2> /dev/full", 0, "", marks=pytest.mark.suite),
    ],
)
def test_streams_that_cannot_be_written(family: Path, command: str, status: int, words: str) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = subprocess.run(
        f"PYTHONIOENCODING=ascii {sys.executable} -m mergeometry {command}",
        shell=True, cwd=family, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    assert words in done.stderr and len(done.stderr.splitlines()) <= 2
    if output := re.match(rf"{re.escape(MERGE)}(-\d)", command):
        assert mg.verify(family / f"ö😀{output[1]}").ok


def test_a_terminal_that_closes_stops_nothing() -> None:
    closed = io.StringIO()
    stream = Unfailing(closed)
    closed.close()
    Console(file=stream, force_terminal=True).print("lost")  # type: ignore[arg-type]
    stream.flush()


@pytest.mark.parametrize("given", ["abc", "1.5", "-1", "٣"])
def test_a_launcher_that_says_nonsense(given: str, family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", given)
    monkeypatch.chdir(family)
    done = invoke("merge", "--base", "base", "--model", "task1", "--method", "average", "--output", "never")
    assert done.exit_code == 2 and "WORLD_SIZE is" in done.stderr and not Path("never").exists()
