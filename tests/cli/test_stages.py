"""Merges of several stages: several recipes in one file, one of which may be a model of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.errors import OutputError, RecipeError

STAGES = """\
merge_method: linear
models:
  - {model: inner, parameters: {weight: 1}}
  - {model: other, parameters: {weight: 3}}
---
name: inner
merge_method: task_arithmetic
base_model: base
models: [{model: one}, {model: other}]
parameters: {weight: 0.5}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(("base", "one", "other")):
        (tmp_path / name).mkdir()
        draw = torch.Generator().manual_seed(seed)
        save_file({"layers.0.mlp.weight": torch.randn(4, 4, generator=draw)}, tmp_path / name / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def weights(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["layers.0.mlp.weight"]


def test_the_stage_without_a_name_gives_the_output(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    done = invoke("merge", "stages.yml", "--output", "out")
    assert done.exit_code == 0, done.output
    base, one, other = (weights(models / name) for name in ("base", "one", "other"))
    inner = base + 0.5 * (one - base) + 0.5 * (other - base)
    assert torch.allclose(weights(models / "out"), (inner + 3 * other) / 4, atol=1e-6)
    assert "stage 'inner' is merged" in done.output
    assert not (models / ".out.stages").exists()


def test_a_file_with_stages_merges_from_python(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    assert invoke("merge", "stages.yml", "--output", "out").exit_code == 0
    seen: list[str] = []
    run = mg.merge("stages.yml", "again", progress=lambda task: seen.append(task.name))
    assert torch.equal(weights(models / "again"), weights(models / "out"))
    assert (run.output, run.recipe["models"][1]["name"]) == (Path("again"), "other")
    assert seen == ["layers.0.mlp.weight"] * 2
    assert not (models / ".again.stages").exists()
    with pytest.raises(RecipeError, match="`scale` holds for one recipe, and the file has several stages"):
        mg.merge("stages.yml", "again", overwrite=True, scale=0.5)
    with pytest.raises(OutputError, match="exists"):
        mg.merge("stages.yml", "again")
    (models / "stages.yml").write_text("name: outer\n" + STAGES)
    assert mg.merge(models / "stages.yml", models / "all").output == models / "all" / "outer"
    assert sorted(path.name for path in (models / "all").iterdir()) == ["inner", "outer"]


def test_stages_that_all_have_names_are_folders_of_the_output(models: Path) -> None:
    (models / "stages.yml").write_text("name: outer\n" + STAGES)
    assert invoke("merge", "stages.yml", "--output", "out").exit_code == 0
    assert sorted(path.name for path in (models / "out").iterdir()) == ["inner", "outer"]


def test_our_own_recipes_have_stages_too(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    assert invoke("import-recipe", "stages.yml", "--output", "own.yaml").exit_code == 0
    assert "merge_method" not in (models / "own.yaml").read_text()
    for name in ("stages.yml", "own.yaml"):
        assert invoke("merge", name, "--output", f"{name}-out", "--quiet").exit_code == 0
    assert torch.equal(weights(models / "stages.yml-out"), weights(models / "own.yaml-out"))


def test_what_is_finished_is_kept_after_an_error(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    late = models / "late.yml"
    late.write_text(STAGES.replace("{weight: 3}", "{weight: [{filter: nothing, value: 1}, {value: 3}]}"))
    failed = invoke("merge", "late.yml", "--output", "out")
    assert failed.exit_code == 1
    assert "late.yml" not in failed.stdout
    assert "line 4: models.1.parameters.weight.0" in failed.stderr
    assert "finished stages are kept, and --resume takes them" in failed.stderr
    assert (models / ".out.stages" / "inner" / "model.safetensors").exists()
    resumed = invoke("merge", "stages.yml", "--output", "out", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "stage 'inner' was finished by an earlier run" in resumed.output
    assert not (models / ".out.stages").exists()


def test_a_plan_shows_what_can_be_planned(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    done = invoke("plan", "stages.yml", "--json")
    assert done.exit_code == 0
    inner, last = json.loads(done.stdout)
    assert (inner["stage"], inner["needs"], len(inner["tensors"])) == ("inner", [], 1)
    assert (last["stage"], last["needs"]) == (None, ["inner"])
    assert inner["device"] == {"chosen": "cpu", "tensors": {"cpu": 1}}
    shown = invoke("plan", "stages.yml", "--device", "cpu").stdout
    assert "planned once 'inner' is merged" in shown and shown.count("merges on the CPU") == 1
    assert not (models / ".out.stages").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STAGES.replace("model: one}", "model: innr}"), "no stage is named 'innr', and no folder, did you mean"),
        (STAGES.replace("name: inner\n", ""), "two documents have no name"),
        (STAGES + "---\nname: inner\nmerge_method: karcher\nmodels: [{model: one}]", "line 12: name: two stages are"),
        ("name: outer\n" + STAGES.replace("model: one}", "model: outer}"), "need each other's results"),
        (STAGES.replace("model: one}", "model: inner}"), "'inner' is a model of itself"),
        (STAGES.replace("name: inner", "name: ../up"), "a stage is named as a folder can be"),
        (STAGES.replace("name: inner", "name: [1]"), "a stage is named as a folder can be"),
        (STAGES + "---\njust text", "a recipe must be a mapping"),
        (STAGES.replace("weight: 0.5", "wieght: 0.5"), "line 10: parameters.wieght: task_arithmetic has no parameter"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_merged(models: Path, text: str, said: str) -> None:
    (models / "stages.yml").write_text(text)
    done = invoke("merge", "stages.yml", "--output", "out")
    assert done.exit_code == 1
    assert said in done.stderr
    assert not (models / "out").exists()
    assert not (models / ".out.stages").exists()


def test_options_hold_for_one_recipe(models: Path) -> None:
    (models / "stages.yml").write_text(STAGES)
    done = invoke("merge", "stages.yml", "--output", "out", "--method", "ties")
    assert done.exit_code == 2
    assert "--method holds for one recipe, and stages.yml has several stages" in done.stderr
