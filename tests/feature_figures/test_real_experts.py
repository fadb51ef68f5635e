"""On real experts: an expert agrees with itself, and agreement bounds what a merge loses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mergeometry as mg
from mergeometry_suite.command import load_expert
from mergeometry_suite.comparison import write_suite

TASKS = ("trec", "election")


@pytest.mark.suite
def test_agreement_of_real_experts_and_their_merges(tmp_path: Path) -> None:
    written = write_suite("text-8", tmp_path)
    recipe = json.loads((written / "recipe.yaml").read_text())
    recipe["models"] = [model for model in recipe["models"] if model["name"] in TASKS]
    tasks = json.loads((written / "tasks.yaml").read_text())
    tasks["tasks"] = [task for task in tasks["tasks"] if task["name"] in TASKS]
    for task in tasks["tasks"]:
        for part in ("head", "validation", "test", "unlabelled"):
            task[part] = str(written / task[part])
    alone = {**recipe, "models": recipe["models"][:1], "method": "task_arithmetic"}
    own = mg.merge(alone, tmp_path / "alone", workers=1)
    one = {**tasks, "tasks": tasks["tasks"][:1]}
    figures = own.report(data=one, limit=300, workers=1).on_inputs
    assert figures is not None
    (task,) = figures.tasks
    assert task.merged is not None and task.merged.agreement is not None and task.merged.cka_unbiased is not None
    assert task.merged.agreement.value == 1 and task.merged.cka_unbiased == pytest.approx(1, abs=1e-6)
    recorded = load_expert("trec").provenance["accuracy"]
    # A text or two may lie on the border: sums are taken in another order.
    assert task.expert.accuracy == pytest.approx(recorded["expert"]["validation"], abs=2.5 / task.inputs)
    both = mg.merge({**recipe, "method": "task_arithmetic", "scale": 1.0}, tmp_path / "both", workers=1)
    figures = both.report(data=tasks, limit=64, workers=1).on_inputs
    assert figures is not None
    for task in figures.tasks:
        for model in (task.base, task.merged):
            assert model is not None and model.agreement is not None and model.accuracy is not None
            assert task.expert.accuracy is not None and model.cka_unbiased is not None
            assert abs(model.accuracy - task.expert.accuracy) <= 1 - model.agreement.value + 1e-9
            assert 0.3 < model.cka_unbiased < 1
