"""Scores by tasks of lm-evaluation-harness are those of its own command on the written model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mergeometry as mg
from mergeometry.cli.app import app
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.tasks_file import load_tasks
from mergeometry.errors import MismatchError
from tests.helpers.harness_inputs import DOCUMENTS, TASKS, family, tasks

pytestmark = pytest.mark.suite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family(tmp_path_factory.mktemp("harness"))


def given(folder: Path, **changes: Any) -> Path:
    path = folder / "tasks.yaml"
    path.write_text(json.dumps(tasks(**changes)))
    return path


def recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    models = [str(folder / name) for name in TASKS]
    return {"base": str(folder / "base"), "models": models, "method": "task_arithmetic", "scale": 0.5, **changes}


def by_its_own_command(model: Path, folder: Path, task: str, metric: str, limit: int) -> float:
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
        "--tasks", task, "--include_path", str(folder), "--limit", str(limit), "--batch_size", "8", "--device", "cpu",
        "--output_path", str(folder.parent / f"{model.name}-{task}"),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    (result,) = (folder.parent / f"{model.name}-{task}").rglob("results_*.json")
    return json.loads(result.read_text())["results"][task][f"{metric},none"]


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_a_merge_scores_as_by_lm_evals_own_command(folder: Path, metric: str) -> None:
    merged = folder / f"merged-{metric}"
    mg.merge(recipe(folder), merged, workers=1)
    found = evaluate(merged, load_tasks(given(folder, metric=metric, limit=20)))
    assert found.measure == "accuracy"
    assert found.inputs == dict.fromkeys(TASKS, 20)
    expected = {task: by_its_own_command(merged, folder / "tasks", task, metric, 20) for task in TASKS}
    assert found.tasks == pytest.approx(expected, abs=1e-12)
    assert all(spread > 0 for spread in found.spread.values())


def test_compare_ranks_merges_by_it_and_keeps_the_scores(folder: Path) -> None:
    output = folder / "comparison"
    options: dict[str, Any] = {"output": output, "scales": [0.5, 1.0], "workers": 1}
    found = mg.compare(recipe(folder), ["average", "ties(density=0.3)"], given(folder), **options)
    assert found.measure == "accuracy"
    merged = folder / "chosen"
    for row in found.rows:
        method = {"name": "ties", "density": 0.3} if row.name.startswith("ties") else "average"
        mg.merge(recipe(folder, method=method, scale=row.best_scale), merged, workers=1, overwrite=True)
        assert evaluate(merged, load_tasks(given(folder))).tasks == row.at_best.tasks
    kept = {path: path.stat().st_mtime_ns for path in (output / "results").rglob("*.json")}
    mg.compare(recipe(folder), ["average", "ties(density=0.3)"], given(folder), **options)
    assert {path: path.stat().st_mtime_ns for path in (output / "results").rglob("*.json")} == kept
    table = folder / "tasks" / "first-test.jsonl"
    before = table.read_text()
    table.write_text(before + before.splitlines()[0] + "\n")
    again = mg.compare(recipe(folder), ["average"], given(folder), **options)
    table.write_text(before)
    assert again.inputs["test"]["first"] == DOCUMENTS + 1


def test_the_plan_counts_documents(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe(folder)))
    arguments = [
        "compare",
        str(path),
        "--tasks",
        str(given(folder, limit=7)),
        "--methods",
        "average",
        "--plan",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)["inputs"]
    assert counts == {"validation": dict.fromkeys(TASKS, 16), "test": dict.fromkeys(TASKS, 7)}


def test_a_grid_of_scales_chooses_by_it(folder: Path) -> None:
    scale = {"grid": [0.25, 1.0, 0.25], "tasks": str(given(folder))}
    merged = mg.merge(recipe(folder, scale=scale), folder / "by-grid", workers=1)
    record = json.loads((Path(merged.output) / "mergeometry.json").read_text())
    assert '"measure": "accuracy"' in json.dumps(record)


def test_a_template_that_reaches_for_python_is_refused(folder: Path) -> None:
    file = folder / "tasks" / "first.yaml"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "doc_to_text": "{{ question.__class__.__mro__ }}"}))
    try:
        with pytest.raises(mg.MergeometryError, match="unsafe"):
            evaluate(folder / "base", load_tasks(given(folder)))
    finally:
        file.write_text(before)


def test_a_template_that_fits_no_document_is_named(folder: Path) -> None:
    file = folder / "tasks" / "first.yaml"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "doc_to_text": "{{ nothing }}"}))
    try:
        with pytest.raises(mg.MergeometryError, match="nothing"):
            evaluate(folder / "base", load_tasks(given(folder)))
    finally:
        file.write_text(before)


def test_texts_beside_tasks_are_refused(folder: Path) -> None:
    (folder / "texts.jsonl").write_text('{"text": "w1 w2 w3"}\n')
    mixed = tasks()
    mixed["tasks"][1]["test"] = "texts.jsonl"
    path = folder / "mixed.yaml"
    path.write_text(json.dumps(mixed))
    with pytest.raises(MismatchError, match="not usable") as error:
        evaluate(folder / "base", load_tasks(path))
    assert any("cannot be added" in reason for reason in error.value.mismatches)
