"""A head is taken from a classification adapter or a classifier's folder, and a bad one is found in the plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mergeometry.encoders.heads import read_head
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import HeadSource
from tests.helpers import learning_models, models
from tests.helpers.commands import invoke


def test_a_head_from_a_classification_adapter(tmp_path: Path) -> None:
    import peft

    model = models.tiny_bert("BertForSequenceClassification", num_labels=3)
    models.peft_adapter(model, tmp_path / "adapter", ["query"], 1, task_type="SEQ_CLS")
    live: Any = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
    classifier = live.base_model.model.classifier.modules_to_save["default"]
    head = read_head(HeadSource(path=str(tmp_path / "adapter")), "task", 16)
    assert torch.equal(head.weight, classifier.weight) and torch.equal(head.bias, classifier.bias)


@pytest.mark.parametrize("name", ["classifier", "score"])
def test_a_head_from_a_classifier(tmp_path: Path, name: str) -> None:
    tensors = {**models.random_tensors(0), f"{name}.weight": torch.randn(3, 6), "classifiers.weight": torch.randn(3, 6)}
    models.write_model(tmp_path / "model", tensors)
    head = read_head(HeadSource(path=str(tmp_path / "model")), "task", 6)
    assert torch.equal(head.weight, tensors[f"{name}.weight"]) and not head.bias.any()
    several = {"other.score.weight": torch.randn(3, 6), "classifier.weight": torch.randn(3, 6)}
    models.write_model(tmp_path / "two", {**tensors, **several})
    with pytest.raises(DataError, match="matrices"):
        read_head(HeadSource(path=str(tmp_path / "two")), "task", 6)


def test_a_plan_finds_a_head_that_does_not_fit(tmp_path: Path) -> None:
    inputs = learning_models.family(tmp_path, count=8)
    (tmp_path / "recipe.yaml").write_text(json.dumps({**inputs, "method": "adamerging"}))
    assert invoke("plan", tmp_path / "recipe.yaml").exit_code == 0
    safetensors.torch.save_file({"weight": torch.ones(3, 5)}, inputs["adapt"]["tasks"][1]["head"])
    for command in (["plan"], ["merge", "-o", str(tmp_path / "out")]):
        done = invoke(command[0], tmp_path / "recipe.yaml", *command[1:])
        assert done.exit_code == 1 and "the head takes 5 features, and the encoder gives 16" in done.output
        assert "model: task1" in done.output
