"""A comparison scores stacked experts as a merge would write them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pytest
import safetensors.torch

import mergeometry as mg
from mergeometry.comparison.evaluate import evaluate
from mergeometry.comparison.tasks_file import load_tasks
from tests.helpers import learning_models
from tests.helpers.experts import SIZES
from tests.helpers.labelled_tasks import written


def test_a_figure_is_that_of_the_merged_model(tmp_path: Path) -> None:
    from transformers import GraniteMoeConfig, GraniteMoeForCausalLM

    config = GraniteMoeConfig(**{**SIZES, "vocab_size": 40}, num_local_experts=2, num_experts_per_tok=1, pad_token_id=0)
    model = GraniteMoeForCausalLM(config)
    learning_models.save_base(model, tmp_path / "base")
    assert any(".input_linear." in key for key in safetensors.torch.load_file(tmp_path / "base/model.safetensors"))
    tasks = []
    for number in range(2):
        learning_models.save_tuned(model, tmp_path / f"task{number}", number, size=0.3)
        tasks.append(learning_models.task_of(tmp_path, number, None, 6))
    models = [str(tmp_path / f"task{number}") for number in range(2)]
    recipe: dict[str, Any] = {"base": str(tmp_path / "base"), "models": models, "adapt": {"tasks": tasks}}
    written(tmp_path, recipe, kind="causal")
    rule = {"rule": "projection", "per": "tensor"}
    found = mg.compare(
        tmp_path / "recipe.yaml", "tsv_m", tmp_path / "tasks.yaml", output=tmp_path / "out", scales=[0.5],
        rules=[rule], workers=1,
    )  # fmt: skip
    own = json.loads((tmp_path / "recipe.yaml").read_text())
    (row,) = found.rows
    mg.merge({**own, "method": "tsv_m", "scale": row.best_scale}, tmp_path / "merged", workers=1)
    scored = evaluate(tmp_path / "merged", load_tasks(tmp_path / "tasks.yaml")).tasks
    assert scored == pytest.approx(row.at_best.tasks, rel=1e-5)
    mg.merge({**own, "method": "tsv_m", "scale": rule}, tmp_path / "ruled", workers=1)
    scored = evaluate(tmp_path / "ruled", load_tasks(tmp_path / "tasks.yaml")).tasks
    assert geometric_mean(scored.values()) == pytest.approx(row.rules["projection per tensor"].mean, rel=1e-5)
