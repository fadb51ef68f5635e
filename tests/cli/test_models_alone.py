"""`mergeometry merge A C --output OUT`: no recipe, no base, no method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mergeometry.plan.choice_of_method import FITTED
from mergeometry.sink import read_record
from tests.helpers import models
from tests.helpers.commands import invoke


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models.write_family(tmp_path, count=2)
    for name in ("task0", "task1"):
        (tmp_path / name / "config.json").write_text(json.dumps({"_name_or_path": "base"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(text: str) -> str:
    return " ".join(text.split())


def test_models_alone_are_planned_merged_and_inspected(family: Path) -> None:
    planned = invoke("plan", "task0", "task1", "--json")
    assert planned.exit_code == 0, planned.output
    merged = invoke("merge", "task0", "task1", "--output", "out")
    assert merged.exit_code == 0, merged.output
    assert words(merged.stdout).count("note: auto: ") == 3 and "note: base: " in merged.stdout
    record = read_record(family / "out")
    assert record.recipe == json.loads(planned.stdout)["recipe"]
    assert record.recipe["method"] == dict(FITTED["full"].method)
    assert [model["name"] for model in record.recipe["models"]] == ["task0", "task1"]
    inspected = invoke("inspect", "task0", "task1", "--output", "page")
    assert inspected.exit_code == 0 and (family / "page" / "index.html").is_file(), inspected.output


def test_an_interrupted_merge_resumes_with_the_choice_that_it_made(family: Path) -> None:
    first = invoke("merge", "task0", "task1", "--output", "out", "--json")
    again = invoke("merge", "task0", "task1", "--output", "out", "--overwrite", "--resume", "--json")
    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert read_record(family / "out").digest == json.loads(first.stdout)["digest"]


def test_options_hold_for_models_alone(family: Path) -> None:
    shutil.copytree(family / "base", family / "elsewhere")
    shown = invoke(
        "plan", "task0", "--model", "task1", "--base", "elsewhere", "--method", "ties", "--weight", "task1=0.5",
        "--json",
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    recipe = json.loads(shown.stdout)["recipe"]
    assert recipe["base"].endswith("elsewhere") and recipe["method"] == {"name": "ties"}
    assert [model["weight"] for model in recipe["models"]] == [1.0, 0.5]


def test_a_file_alone_is_a_recipe_and_stands_alone(family: Path) -> None:
    (family / "recipe.yaml").write_text("base: base\nmodels: [task0]\n")
    assert invoke("plan", "recipe.yaml", "--quiet").exit_code == 0
    mixed = invoke("plan", "recipe.yaml", "task0")
    assert mixed.exit_code == 2 and "recipe.yaml is a recipe: give it alone" in words(mixed.output)
    missing = invoke("plan", "task0", "tusk1")
    assert missing.exit_code == 1 and "there is no such model" in missing.output and "tusk1" in missing.output
    assert "cannot be read" in invoke("plan", "nonsuch").output


def test_heads_that_only_the_models_have_are_kept_without_being_named(family: Path) -> None:
    for name in ("task0", "task1"):
        models.write_model(family / name, {**models.loaded(family / name), "classifier.weight": torch.ones(2, 6)})
    shown = invoke("plan", "task0", "task1", "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["heads"] == {name: ["classifier.weight"] for name in ("task0", "task1")}
    measured = invoke("inspect", "task0", "task1", "--output", "page", "--json", "--workers", "1")
    assert measured.exit_code == 0, measured.output


def test_models_of_two_kinds_are_one_error(family: Path) -> None:
    models.write_model(family / "other", models.random_tensors(5, shapes={"conv.weight": (4, 3, 3, 3)}))
    shown = invoke("plan", "task0", "other")
    assert shown.exit_code == 1 and "do not fit together" in shown.output and "other" in shown.output
