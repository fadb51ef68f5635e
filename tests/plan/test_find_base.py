"""The base is the one that models name, or an error that lists what would fit; never a guess."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.errors import MergeometryError, RecipeError, SourceError
from tests.helpers import models

COMMIT = "c" * 40


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, two fine-tunes and an adapter of it that name nothing, the current folder; the hub's cache is empty."""
    models.write_family(tmp_path, count=3, adapters=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def named(folder: Path, text: str, file: str = "config.json") -> None:
    """Let a model's configuration name its base."""
    key = "_name_or_path" if file == "config.json" else "base_model_name_or_path"
    settings = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**settings, key: text}))


def in_hub_cache(family: Path, name: str) -> Path:
    """A copy of the base in the hub's cache."""
    repository = family / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(family / "base", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def base_of(*given: Any) -> tuple[str, str]:
    """The base of a plan, and the note on it."""
    plan = mg.make_plan(models=list(given), method="average")
    assert isinstance(plan.recipe.base, str)
    return plan.recipe.base, next(note for note in plan.notes if note.startswith("base: "))


def refusal(kind: type[MergeometryError], *given: str) -> str:
    with pytest.raises(kind) as caught:
        mg.make_plan(models=list(given))
    return str(caught.value)


def test_one_model_names_the_base_of_all(family: Path) -> None:
    named(family / "task0", "base")
    base, note = base_of("task0", "task1")
    assert base == str(family / "base") and "config.json names as 'base' (1 model of 2)" in note


def test_an_adapter_names_a_folder_next_to_it(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named(family / "task2", "../base", "adapter_config.json")
    monkeypatch.chdir("/")
    assert base_of(family / "task2")[0] == str(family / "base")


def test_a_name_on_the_hub_is_found_in_its_cache_and_nowhere_else(family: Path) -> None:
    named(family / "task2", "owner/encoder", "adapter_config.json")
    told = refusal(RecipeError, "task2")
    assert "names 'owner/encoder'" in told and "not in the hub's cache" in told
    assert f"folders that fit, by names and shapes of tensors: {family / 'base'}" in told
    assert f"--base {family / 'base'}" in told and "--base hf://owner/encoder" in told
    snapshot = in_hub_cache(family, "owner/encoder")
    assert base_of("task2")[0] == str(snapshot)


def test_a_folder_and_a_cached_model_of_one_name_are_two(family: Path) -> None:
    named(family / "task0", "owner/encoder")
    snapshot = in_hub_cache(family, "owner/encoder")
    shutil.copytree(family / "base", family / "owner" / "encoder")
    told = refusal(RecipeError, "task0", "task1")
    assert "found more than once" in told
    assert f"--base {family / 'owner' / 'encoder'} or --base {snapshot}" in told


def test_models_that_name_two_bases_are_refused(family: Path) -> None:
    shutil.copytree(family / "base", family / "another")
    named(family / "task0", "base")
    named(family / "task1", "another")
    told = refusal(RecipeError, "task0", "task1")
    assert "task0: config.json names 'base'" in told and "task1: config.json names 'another'" in told


def test_without_any_name_what_fits_is_listed_and_nothing_taken(family: Path) -> None:
    told = refusal(RecipeError, "task0", "task1")
    assert "task0: adapter_config.json, README.md and config.json name no base" in told
    assert f"hint: name it: --base {family / 'base'}" in told and str(family / "task2") not in told
    (family / "base" / "model.safetensors").unlink()
    told = refusal(RecipeError, "task0", "task1")
    assert "no folder next to the models" in told and "--base FOLDER" in told


def test_a_model_is_not_the_base_of_others_that_name_it(family: Path) -> None:
    named(family / "task0", "task1")
    assert "was not found" in refusal(RecipeError, "task0", "task1")


def test_a_base_that_models_do_not_come_from_is_refused_though_it_is_named(family: Path) -> None:
    models.write_model(family / "stranger", models.random_tensors(99))
    named(family / "task0", "stranger")
    told = refusal(SourceError, "task0", "task1")
    assert "no fine-tune of the base that its files name" in told and "--base FOLDER" in told


def test_a_recipe_file_may_leave_out_its_base(family: Path) -> None:
    named(family / "task0", "base")
    (family / "recipe.yaml").write_text("models: [task0, task1]\nmethod: average\n")
    assert mg.make_plan("recipe.yaml").recipe.base == str(family / "base")
    assert mg.make_plan("recipe.yaml", scale=0.5).recipe.base == str(family / "base")
