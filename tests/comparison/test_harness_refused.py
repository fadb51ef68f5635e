"""Tasks of lm-evaluation-harness that cannot be scored are refused before lm_eval is imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mergeometry.comparison.harness_tasks import HarnessData, read_harness
from mergeometry.comparison.tasks_file import LabelledSource, load_tasks
from mergeometry.errors import DataError, MergeometryError, RecipeError
from tests.helpers.harness_inputs import save_task, tasks


def read(folder: Path, name: str = "first", **more: Any) -> HarnessData:
    (folder / "tokenizer.json").touch()
    return read_harness(source(folder, name, **more), "causal", folder)


def source(folder: Path, name: str = "first", **more: Any) -> LabelledSource:
    return LabelledSource(lm_eval=name, include_path=str(folder), **more)


@pytest.mark.parametrize(
    ("changes", "asked", "reason"),
    [
        ({}, {"name": "frist"}, "did you mean 'first'"),
        ({}, {"metric": "acc_nrom"}, "did you mean 'acc_norm'"),
        ({"metric_list": [{"metric": "acc"}]}, {"metric": "acc_norm"}, "no metric 'acc_norm'"),
        ({"metric_list": [{"metric": "perplexity"}]}, {}, "no metric that is scored here"),
        ({"output_type": "generate_until"}, {}, "output_type"),
        ({"dataset_path": "allenai/arc"}, {}, "nothing is fetched"),
        ({"dataset_kwargs": {"data_files": {"test": "absent.jsonl"}}}, {}, "no such file"),
        ({"process_docs": "utils.process"}, {}, "'process_docs', which is not read"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path: Path, changes: Any, asked: Any, reason: str) -> None:
    save_task(tmp_path, "first", 0, **changes)
    with pytest.raises(MergeometryError, match=reason):
        read(tmp_path, **asked)


def test_code_of_a_task_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("raise SystemExit('the code ran')\n")
    (tmp_path / "first.yaml").write_text("task: first\ndoc_to_text: !function utils.text\n")
    with pytest.raises(RecipeError) as error:
        read(tmp_path)
    assert "!function" in str(error.value.hint)
    assert error.value.file == str(tmp_path / "first.yaml")


def test_models_that_it_does_not_fit_are_refused(tmp_path: Path) -> None:
    save_task(tmp_path, "first", 0)
    with pytest.raises(RecipeError, match="causal language models"):
        read_harness(source(tmp_path), "text", tmp_path)
    with pytest.raises(RecipeError, match="need a tokenizer"):
        read_harness(source(tmp_path), "causal", tmp_path)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_task(tmp_path, "first", 0)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert "lm-eval" in str(error.value.hint)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"lm_eval": "first"}, "include_path"),
        ({"path": "a.jsonl", "metric": "acc"}, "goes with `lm_eval`"),
        ({"lm_eval": "first", "include_path": "tasks", "column": "text"}, "`column` has no meaning"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(part: Any, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_tasks({"tasks": [{"name": "first", "test": part}]})


def test_a_task_is_no_unlabelled_data() -> None:
    part = {"lm_eval": "first", "include_path": "tasks"}
    with pytest.raises(RecipeError, match="unlabelled"):
        load_tasks({"tasks": [{"name": "first", "unlabelled": part}]})


def test_folders_are_beside_the_tasks_file(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(json.dumps(tasks(metric="acc")))
    test = load_tasks(tmp_path / "tasks.yaml").tasks[0].test
    assert test is not None
    assert test.include_path == str(tmp_path / "tasks")
