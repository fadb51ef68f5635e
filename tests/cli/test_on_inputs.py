"""`report --data` and `inspect --data`: tables on the terminal, figures in the JSON, errors in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mergeometry as mg
from tests.helpers import learning_models
from tests.helpers.commands import invoke


@pytest.mark.suite
def test_figures_on_inputs_before_and_after_a_merge(tmp_path: Path) -> None:
    family = learning_models.family(tmp_path, (3, 4), 12)
    tasks = [{**task, "data": Path(task["data"]).name} for task in family["adapt"]["tasks"]]
    (tmp_path / "tasks.yaml").write_text(json.dumps({"tasks": tasks}))
    recipe = {"base": family["base"], "models": family["models"], "method": "tsv_m"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    mg.merge(recipe, tmp_path / "out", workers=1)
    done = invoke("report", tmp_path / "out", "--data", tmp_path / "tasks.yaml", "--limit", "8", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "On your inputs" in done.output and "agreement, %" in done.output and "8 of 12" in done.output
    assert "the merged model predicts as the expert does" in done.output
    figures = json.loads((tmp_path / "out-report" / "inspection.json").read_text())["on_inputs"]
    assert [task["name"] for task in figures["tasks"]] == ["task0", "task1"]
    assert figures["tasks"][0]["merged"]["agreement"]["value"] <= 1
    before = invoke(
        "inspect", tmp_path / "recipe.yaml", "--data", tmp_path / "tasks.yaml", "--output", tmp_path / "page",
        "--workers", "1", "--json",
    )  # fmt: skip
    assert before.exit_code == 0, before.output
    assert json.loads(before.stdout)["on_inputs"]["tasks"][0]["merged"] is None
    refused = invoke("report", tmp_path / "out", "--data", tmp_path / "none.yaml", "--output", tmp_path / "page")
    assert refused.exit_code == 1 and "none.yaml" in refused.output
