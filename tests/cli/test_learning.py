"""Learning from the command line: what is shown, stopped, resumed and removed, under any names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from mergeometry.learning.state import Point
from mergeometry.sink import read_record
from tests.helpers import learning_models
from tests.helpers.commands import invoke
from tests.helpers.learning_recipes import COUNT, QUICK, recipe_of
from tests.helpers.learning_runs import CLASSES, stopping_at


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learning_models.family(tmp_path_factory.mktemp("tuned"), CLASSES, COUNT)


def test_the_command_line(tuned: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "COLUMNS": "200"})
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe_of(tuned, QUICK)))
    shown = invoke("plan", file)
    assert shown.exit_code == 0, shown.output
    assert "task task1: 24 unlabelled texts" in shown.output and "learns by mda for at most 6 steps" in shown.output
    planned = json.loads(invoke("plan", file, "--json").stdout)["learning"]
    assert planned["steps"] == 6 and planned["memory_bytes"] > 1e8 and planned["seconds"] > 0
    merged = invoke("merge", file, "--output", tmp_path / "out", "--workers", "1")
    assert merged.exit_code == 0, merged.output
    assert "learned by mda" in merged.output and "held-out objective" in merged.output
    run = read_record(tmp_path / "out")
    assert run.adapt is not None and run.adapt["steps"] == 6
    told = invoke("merge", file, "--output", tmp_path / "other", "--workers", "1", "--json", "--set", "adapt.steps=2")
    assert json.loads(told.stdout)["adapt"]["steps"] == 2

    from mergeometry.learning.train import Learner

    original = Learner._step
    monkeypatch.setattr(
        Learner, "_step", lambda self: stopping_at(2)(Point(2, 0, {})) if self.state.step == 4 else original(self)
    )
    stopped = invoke("merge", file, "--output", tmp_path / "again", "--workers", "1")
    assert stopped.exit_code == 130 and "--resume" in stopped.output and not (tmp_path / "again").exists()
    monkeypatch.setattr(Learner, "_step", original)
    resumed = invoke("merge", file, "--output", tmp_path / "again", "--workers", "1", "--resume")
    assert resumed.exit_code == 0 and read_record(tmp_path / "again").digest == run.digest

    monkeypatch.setattr(Learner, "_step", lambda self: stopping_at(2)(Point(2, 0, {})))
    assert invoke("merge", file, "--output", tmp_path / "third").exit_code == 130
    monkeypatch.setattr(Learner, "_step", original)
    assert (tmp_path / ".third.mergeometry-learning").is_dir()
    assert "removed" in invoke("clean", tmp_path / "third").output
    assert not (tmp_path / ".third.mergeometry-learning").exists()
    assert "nothing was staged" in invoke("clean", tmp_path / "third").output


ODD = ["a b/ü", "[bold]x", "..", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.safetensors"]


def test_odd_names(tuned: dict[str, Any], tmp_path: Path) -> None:
    names = ODD[:3]
    inputs = {
        **tuned,
        "models": [{"path": place, "name": name} for place, name in zip(tuned["models"], names, strict=True)],
        "adapt": {"tasks": [{**task, "name": name} for task, name in zip(tuned["adapt"]["tasks"], names, strict=True)]},
    }
    for changed in (names, [*ODD[1:]]):
        for entry, task, name in zip(inputs["models"], inputs["adapt"]["tasks"], changed, strict=True):
            entry["name"] = task["name"] = name
        out = tmp_path / f"out{changed.index('..')}"
        file = tmp_path / "recipe.yaml"
        file.write_text(json.dumps(recipe_of(inputs, QUICK)))
        merged = invoke("merge", file, "--output", out, "--workers", "1")
        assert merged.exit_code == 0, merged.output
        assert all(ord(character) != 0x202E for character in merged.output)
        heads = sorted(path.name for path in (out / "heads").iterdir())
        assert len(heads) == 3 and not any("/" in name for name in heads)
        assert set(safetensors.torch.load_file(out / "adapt/rotations.safetensors")) == set(changed)
        assert {path.name for path in tmp_path.iterdir()} <= {"recipe.yaml", "out0", "out1", "out2"}
