"""A journal that is damaged costs tensors, which are merged again; what a run does not continue it says."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.execution.restoring import restored
from mergeometry.execution.run import execute
from mergeometry.plan import make_plan
from mergeometry.sink.journal import read_journal
from tests.helpers import models
from tests.helpers.commands import invoke


class StoppedError(Exception):
    """The run ends here."""


def stopped(folder: Path, after: int = 4, **keys: Any) -> tuple[dict[str, Any], Path]:
    """A run that stops after some of its six tensors; the recipe, and the journal that it left."""
    recipe = {**models.write_family(folder, count=2), "method": "ties", **keys}
    seen: list[str] = []

    def progress(task: Any) -> None:
        seen.append(task.name)
        if len(seen) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        mg.merge(recipe, output=folder / "out", progress=progress, workers=1)
    return recipe, folder / ".out.mergeometry-staging" / "journal.jsonl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of a run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return mg.merge({**models.write_family(folder, count=2), "method": "ties"}, output=folder / "out").to_json()


def same(record: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether two records tell of the same bytes, in and out."""
    hashes = [[one["digest"] for one in both["tensors"] + both["inputs"]] for both in (record, whole)]
    return hashes[0] == hashes[1] and record["digest"] == whole["digest"]


def test_a_flipped_bit_anywhere_costs_at_most_tensors(tmp_path: Path, whole: dict[str, Any]) -> None:
    recipe, journal = stopped(tmp_path)
    intact = journal.read_bytes()
    folder = next(journal.parent.glob("folder-*"))
    files = {path: path.read_bytes() for path in folder.iterdir()}
    plan = make_plan(mg.load_recipe(recipe))
    for place in random.Random(0).sample(range(len(intact)), 15):
        damaged = bytearray(intact)
        damaged[place] ^= 1 << place % 8
        journal.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        journal.write_bytes(damaged)
        for path, data in files.items():
            path.write_bytes(data)
        target = tmp_path / "out"
        record = execute(plan, target, resume=True, workers=1).to_json()
        assert same(record, whole), f"byte {place} of {bytes(intact[place - 40 : place + 40])!r}"
        target.rename(tmp_path / f"done-{place}")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value, of the outer ones first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], other)
    return changed


def test_a_value_of_another_type_anywhere_costs_at_most_tensors(tmp_path: Path, whole: dict[str, Any]) -> None:
    """Lines whose checksum is right, as another program would write them; and the journal cut after any line."""
    recipe, journal = stopped(tmp_path)
    folder = next(journal.parent.glob("folder-*"))
    lines = journal.read_bytes().splitlines(keepends=True)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    plan, target = make_plan(mg.load_recipe(recipe)), tmp_path / "out"

    def resumed(text: bytes) -> None:
        journal.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        journal.write_bytes(text)
        for path, data in files.items():
            path.write_bytes(data)
        assert same(execute(plan, target, resume=True, workers=1).to_json(), whole), text
        shutil.rmtree(target)

    draw = random.Random(0)
    everywhere = [(number, path) for number, line in enumerate(lines) for path in places(json.loads(line[17:]))]
    for number, path in draw.sample(everywhere, 10):
        value = json.loads(lines[number][17:])
        was = type(functools.reduce(lambda one, key: one[key], path, value))
        other = draw.choice([one for one in (None, True, -1, 1e300, "x", [[]], {"a": None}) if type(one) is not was])
        text = json.dumps(put(value, path, other)).encode()
        check = hashlib.sha256(text).hexdigest()[:16].encode()
        resumed(b"".join([*lines[:number], b"%s %s\n" % (check, text), *lines[number + 1 :]]))
    cut = b"".join(lines)
    for end in draw.sample(range(len(cut)), 4):
        resumed(cut[:end])


@pytest.mark.parametrize("change", [
    {"written": ["00"]}, {"read": [["base"]]}, {"read": [["base", "w", "bb"]]},
    {"seconds": "soon"}, {"name": "other"}, {"notes": None},
])  # fmt: skip
def test_an_entry_of_another_form_is_no_outcome(change: dict[str, Any]) -> None:
    outcome = {"name": "w", "written": ["aa"], "read": [["base", "w", "blake3:bb"]], "seconds": 1.0, "peak_memory": 5,
               "process": 7, "notes": [], "scales": [1.0], "energies": [], "processor": 0.5}  # fmt: skip
    entry = {"digest": "aa", "outcome": outcome}
    good = restored("w", [entry])
    assert good is not None and good.read == (("base", "w", "blake3:bb"),) and good.peak_memory == 0
    assert restored("w", [{"digest": "aa", "outcome": {**outcome, **change}}]) is None
    assert restored("w", [entry, {"digest": "aa", "outcome": {**outcome, "seconds": 2.0}}]) is None
    assert restored("w", [{"digest": "aa"}]) is None


def test_a_rerun_without_resume_says_what_it_discards(tmp_path: Path) -> None:
    recipe, _ = stopped(tmp_path)
    told: list[tuple[str, Any]] = []
    record = execute(make_plan(mg.load_recipe(recipe)), tmp_path / "out", tell=lambda *event: told.append(event))
    ((event, facts),) = told
    assert (
        (event, facts["tensors"]) == ("discarded", 4) and facts["bytes"] > 0 and "without --resume" in facts["reason"]
    )
    assert any("4 finished tensors of an earlier run" in note and "discarded" in note for note in record.warnings)


@pytest.mark.parametrize(
    ("change", "part"), [({"scale": 0.5}, "recipe"), ({"method": "average"}, "recipe"), ({}, "files")]
)
def test_resuming_another_run_says_what_differs(tmp_path: Path, change: dict[str, Any], part: str) -> None:
    recipe, _ = stopped(tmp_path)
    if part == "files":
        model = tmp_path / "task0" / "model.safetensors"
        model.write_bytes(model.read_bytes())
    record = mg.merge({**recipe, **change}, output=tmp_path / "out", resume=True)
    (note,) = [note for note in record.warnings if "discarded" in note]
    assert "4 finished tensors of an earlier run" in note and note.endswith(f"{part} differ")


def test_the_command_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path)
    monkeypatch.chdir(tmp_path)
    merge = ["merge", "--base", tmp_path / "base", "--model", tmp_path / "task0", "--model", tmp_path / "task1",
             "--method", "ties", "--output", "out", "--workers", "1"]  # fmt: skip
    resumed = invoke(*merge, "--resume", "--log", "json")
    events = [json.loads(line) for line in resumed.stderr.splitlines()]
    assert [event["tensors"] for event in events if event["event"] == "resumed"] == [4]
    assert resumed.exit_code == 0
    stopped(tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    merge[2:7:2] = [tmp_path / "again" / name for name in ("base", "task0", "task1")]
    anew = invoke(*merge)
    assert "note: what an earlier run left is discarded (4 finished tensors" in anew.stderr and anew.exit_code == 0


@pytest.mark.parametrize("content", [b"", b"\n\n", b"0" * 16 + b" {}\n", b"\xff" * 100, b"[" * 10_000])
def test_a_journal_that_is_none_at_all(tmp_path: Path, content: bytes) -> None:
    recipe, journal = stopped(tmp_path)
    journal.write_bytes(content)
    assert mg.merge(recipe, output=tmp_path / "out", resume=True).timings["tensors_resumed"] == 0


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_what_is_no_file_in_its_place_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "journal.jsonl"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    assert read_journal(place) is None
