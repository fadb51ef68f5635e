"""With --log json standard error holds events, one JSON object per line, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mergeometry.cli.events import Events, LogForm, Steps, events
from tests.helpers import models
from tests.helpers.commands import invoke

PAGE = (Path(__file__).parents[2] / "docs" / "unattended.md").read_text("utf-8")
HOSTILE = '[/a] :bomb: "\n\x1b[31m\u202e\u2028'
LIKE_ITS_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


def read(text: str) -> list[dict[str, Any]]:
    """Every line, each of which has to be one event that the page describes."""
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        assert line.isascii() and LIKE_ITS_NAME.fullmatch(event["time"])
        assert f"| `{event['event']}` |" in PAGE, event
        row = next(row for row in PAGE.splitlines() if row.startswith(f"| `{event['event']}` |"))
        assert event.keys() - {"time", "event"} <= set(re.findall(r"`(\w+)`", row)), (event, row)
        found.append(event)
    return found


def named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (one,) = [event for event in found if event["event"] == name]
    return one


def family(folder: Path) -> list[str | Path]:
    models.write_family(folder, count=2)
    return ["merge", "--base", folder / "base", "--model", folder / "task0", "--model", folder / "task1",
            "--method", "ties", "--log", "json"]  # fmt: skip


def test_a_merge_from_its_start_to_its_publication(tmp_path: Path) -> None:
    done = invoke(*family(tmp_path), "--output", tmp_path / "out")
    found = read(done.stderr)
    assert done.exit_code == 0 and done.stdout == ""
    assert [event["event"] for event in found] == ["started", "planned", *["tensor"] * 6, "published"]
    assert named(found, "started")["process"] == os.getpid()
    assert named(found, "planned")["tensors"] == 6
    shares = [event["share"] for event in found if event["event"] == "tensor"]
    assert shares == sorted(shares) and shares[-1] == 1
    record = json.loads((tmp_path / "out" / "mergeometry.json").read_text())
    assert named(found, "published")["digest"] == record["digest"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--output", "here"], 1, "exists already"),
        ([], 2, "--output says where to write"),
        (["--output", "other", "--set", "scle=2"], 1, "unknown key"),
        (["--output", "other", "--executor", "gpu"], 2, "--executor gpu"),
    ],
)
def test_what_fails(
    change: list[str], status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here", "thesis.txt").touch()
    done = invoke(*family(tmp_path), *change)
    failed = named(read(done.stderr), "failed")
    assert (done.exit_code, failed["status"]) == (status, status) and words in failed["error"]


def test_a_traceback_is_part_of_the_last_event(tmp_path: Path) -> None:
    done = invoke(*family(tmp_path), "--output", "/dev/null", "--debug")
    last = read(done.stderr)[-1]
    assert last["event"] == "failed" and last["traceback"].startswith("Traceback")
    assert "traceback" not in read(invoke(*family(tmp_path), "--output", "/dev/null").stderr)[-1]


def test_every_mismatch_of_a_refusal(tmp_path: Path) -> None:
    arguments = family(tmp_path)
    tensors = {f"{name}{HOSTILE}": tensor for name, tensor in models.random_tensors(3).items()}
    models.write_model(tmp_path / "task1", tensors)
    failed = named(read(invoke(*arguments, "--output", tmp_path / "out").stderr), "failed")
    assert len(failed["mismatches"]) > 1


@pytest.mark.suite
def test_hostile_names_a_library_that_prints_and_an_earlier_run(tmp_path: Path) -> None:
    """In a process of its own, of whose standard error every byte is looked at."""
    base = {f"layer.{HOSTILE}": torch.randn(4, 4), "bias": torch.randn(3)}
    models.write_model(tmp_path / "base", base)
    for number in range(2):
        models.write_model(tmp_path / f"task{number}\x1b[31m", models.tuned(base, number))
    run = [sys.executable, "-c", SCRIPT, "merge", "--base", "base", "--model", "task0\x1b[31m", "--model",
           "task1\x1b[31m", "--method", "ties", "--log", "json", "--output", "out"]  # fmt: skip
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = read(done.stderr)
    assert done.returncode == 0, done.stderr
    assert {event["tensor"] for event in found if event["event"] == "tensor"} == base.keys()
    assert {event["text"] for event in found if event["event"] == "output"} == {"a library says", "so does C"}


SCRIPT = """
import os, sys
from mergeometry.plan import prepared
def loud(*arguments, original=prepared.prepared_plan, **options):
    print("a library says", file=sys.stderr)
    os.write(2, b"so does C\\n")
    return original(*arguments, **options)
prepared.prepared_plan = loud
from mergeometry.cli.app import main
sys.argv[0] = "mergeometry"
main()
"""


def test_values_that_json_cannot_hold(capsys: pytest.CaptureFixture[str]) -> None:
    Events()("output", text="half \udc80", more=[float("nan"), Path("x"), {1: True}])
    event = json.loads(capsys.readouterr().err)
    assert event["text"] == "half \\udc80" and event["more"] == [None, "x", {"1": True}]


def test_steps_are_few_and_the_last_is_there() -> None:
    told: list[int] = []
    steps = Steps(lambda event, facts: told.append(facts["done"]), "scored")  # type: ignore[arg-type]
    for done in range(1, 1001):
        steps("merging", done, 1000)
    assert told[0] == 1 and told[-1] == 1000 and len(told) < 100


def test_text_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with events(LogForm.TEXT) as written:
        assert written is None
