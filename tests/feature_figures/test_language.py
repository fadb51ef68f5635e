"""Figures of language models are over next tokens, on inputs or on what the expert writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import mergeometry as mg
from mergeometry.feature_figures.layers import blocks_of
from mergeometry.feature_figures.report import figures_of_output
from mergeometry.feature_figures.shares import of_inputs, of_tokens
from tests.helpers import learning_models
from tests.helpers.encoder_models import encoder_of, made
from tests.helpers.encoder_models import save_processor as _processor
from tests.helpers.learning_recipes import texts_of


def family(folder: Path, name: str) -> tuple[dict[str, Any], Path]:
    model = made(name)
    learning_models.save_base(model, folder / "base")
    for number in range(2):
        learning_models.save_tuned(model, folder / f"task{number}", number, size=0.2)
    tasks = [learning_models.task_of(folder, number, None, 10) for number in range(2)]
    models = [str(folder / f"task{number}") for number in range(2)]
    recipe = {"base": str(folder / "base"), "models": models, "adapt": {"tasks": tasks}}
    mg.merge(base=recipe["base"], models=models, method="average", output=folder / "merged", workers=1)
    return recipe, folder / "merged"


@pytest.mark.suite
def test_a_causal_model_is_compared_by_next_tokens(tmp_path: Path) -> None:
    recipe, merged = family(tmp_path, "llama")
    found = figures_of_output(merged, {"tasks": recipe["adapt"]["tasks"]})
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe["base"])
    models = {
        place: transformers.AutoModelForCausalLM.from_pretrained(place).eval()
        for place in (recipe["models"][0], str(merged))
    }
    equal, entropies = [], []
    for text in texts_of(recipe, 0):
        numbers = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expert, own = (model(numbers).logits[0, :-1] for model in models.values())
        equal += (expert.argmax(dim=1) == own.argmax(dim=1)).tolist()
        entropies += torch.distributions.Categorical(logits=own.double()).entropy().tolist()
    task = found.tasks[0]
    assert task.merged is not None and task.merged.agreement is not None and task.merged.cka_unbiased is not None
    assert (task.kind, task.inputs, task.rows) == ("tokens", 10, len(equal))
    assert task.merged.agreement.value == pytest.approx(sum(equal) / len(equal))
    assert task.merged.agreement.low < task.merged.agreement.value < task.merged.agreement.high
    assert task.merged.entropy == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)
    assert task.merged.collapse is None and task.grouped_by is None
    assert len(task.merged.layers) == 2 and None not in task.merged.layers


@pytest.mark.suite
def test_an_encoder_decoder_predicts_what_the_expert_writes(tmp_path: Path) -> None:
    recipe, merged = family(tmp_path, "t5")
    found = figures_of_output(merged, {"tasks": recipe["adapt"]["tasks"], "encoder": {"kind": "seq2seq"}}, limit=4)
    task = found.tasks[0]
    assert task.kind == "tokens" and task.rows >= task.inputs == 4
    assert task.merged is not None and len(task.merged.layers) == 2 and task.merged.cka is not None


@pytest.mark.parametrize(
    "name", ["bert", *(pytest.param(name, marks=pytest.mark.suite) for name in ("gpt2", "bart", "vit"))]
)
def test_the_layers_of_a_model_are_found(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save_pretrained(tmp_path)
    _processor(tmp_path) if name == "vit" else learning_models.save_tokenizer(tmp_path)
    encoder = encoder_of(tmp_path)
    blocks = blocks_of(encoder)
    assert len(blocks) == 2
    if name == "bart":
        decoder = encoder.module.get_submodule("model.decoder.layers")
        assert blocks == list(decoder)


def test_intervals_of_shares() -> None:
    known = of_inputs(7, 10)  # as in textbooks: 0.397 to 0.892
    assert (known.value, known.low, known.high) == pytest.approx((0.7, 0.3968, 0.8922), abs=1e-4)
    assert (of_inputs(0, 5).low, of_inputs(5, 5).high) == (0.0, 1.0)
    texts = of_tokens([5, 0, 5, 0], [5, 5, 5, 5])
    assert texts.value == 0.5 and texts.low == 0.0 and texts.high == 1.0, "four texts say little, whatever their tokens"
    assert json.dumps(texts.value) == "0.5"
