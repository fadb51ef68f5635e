"""A suite as files to compare on: real experts, real texts, the figures of a real merge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mergeometry as mg
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.tasks_file import TasksFile, load_tasks
from mergeometry.errors import DataError
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import load_expert
from mergeometry_suite.comparison import write_suite
from mergeometry_suite.language_model.domains import DOMAINS


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite("text-8", tmp_path_factory.mktemp("suite"), limit=8)


@pytest.mark.suite
def test_a_suite_is_written_whole(suite: Path) -> None:
    tasks, recipe = load_tasks(suite / "tasks.yaml"), mg.load_recipe(suite / "recipe.yaml")
    assert [task.name for task in tasks.tasks] == [model.name for model in recipe.models]
    assert len(tasks.tasks) == 8
    for task in tasks.tasks:
        assert task.validation is not None
        seen, kept = (Path(part.path or "").read_text("utf-8").splitlines() for part in (task.validation, task.test))
        assert len(seen) == len(kept) == 8
        assert not {json.loads(row)["text"] for row in seen} & {json.loads(row)["text"] for row in kept}


@pytest.mark.suite
def test_figures_on_real_experts_are_those_of_a_real_merge(suite: Path, tmp_path: Path) -> None:
    found = mg.compare(
        suite / "recipe.yaml", "tsv_m, ties", suite / "tasks.yaml", output=tmp_path / "out", scales=[0.5], workers=1
    )
    tasks = load_tasks(suite / "tasks.yaml")
    for row in found.rows:
        recipe = {**json.loads((suite / "recipe.yaml").read_text()), "method": row.name, "scale": row.best_scale}
        mg.merge(recipe, tmp_path / row.name, workers=1)
        assert evaluate(tmp_path / row.name, tasks).tasks == pytest.approx(row.at_best.tasks)
    expert = load_expert("trec")
    assert evaluate(expert.folder, tasks, backbone()).tasks["trec"] == pytest.approx(found.experts["trec"])


@pytest.mark.suite
def test_the_base_scores_what_its_expert_was_trained_from(tmp_path: Path) -> None:
    written = write_suite("text-8", tmp_path)
    tasks = load_tasks(written / "tasks.yaml")
    only = TasksFile(tasks=tuple(task for task in tasks.tasks if task.name == "trec"), encoder=tasks.encoder)
    found = evaluate(backbone(), only)
    expected = load_expert("trec").provenance["accuracy"]["base"]["test"]
    # A text or two may lie on the border: sums are taken in another order.
    assert found.tasks["trec"] == pytest.approx(expected, abs=2.5 / found.inputs["trec"])


@pytest.mark.suite
def test_the_language_model_suite_has_six_domains(tmp_path: Path) -> None:
    written = write_suite("language-model", tmp_path, limit=2)
    tasks, recipe = load_tasks(written / "tasks.yaml"), mg.load_recipe(written / "recipe.yaml")
    assert [task.name for task in tasks.tasks] == [model.name for model in recipe.models] == list(DOMAINS)
    assert len(tasks.tasks) == 6
    for task in tasks.tasks:
        assert len(Path(task.test.path or "").read_text("utf-8").splitlines()) == 2


@pytest.mark.suite
def test_a_part_of_a_suite_is_written_in_its_order(tmp_path: Path) -> None:
    written = write_suite("text-8", tmp_path, only=["movie", "trec"], limit=2)
    recipe = mg.load_recipe(written / "recipe.yaml")
    assert [model.name for model in recipe.models] == [task.name for task in load_tasks(written / "tasks.yaml").tasks]
    assert [model.name for model in recipe.models] == ["trec", "movie"]


def test_a_misspelt_suite_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'text-8'"):
        write_suite("text8", tmp_path)
    with pytest.raises(DataError, match="adapters"):
        write_suite("language-model", tmp_path, full=True)
    with pytest.raises(DataError, match="text-8 has no task 'r9', did you mean 'r8'"):
        write_suite("text-8", tmp_path, only=["r9"])
    with pytest.raises(DataError, match="trained with seed 0"):
        write_suite("language-model", tmp_path, seed=1)


@pytest.mark.parametrize(
    ("suite", "full", "command"),
    [
        ("text-8", True, "train --full trec"),
        ("vision", True, "train-vision --full mnist"),
        ("text-8", False, "train trec"),
        ("vision", False, "train-vision mnist"),
    ],
)
def test_a_seed_is_that_of_the_experts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str, full: bool, command: str
) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="no full fine-tune" if full else "no trained expert") as caught:
        write_suite(suite, tmp_path / suite, full=full, seed=1)
    assert str(caught.value).endswith(f"mergeometry suite {command} --seed 1")
