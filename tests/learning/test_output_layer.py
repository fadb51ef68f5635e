"""The rotation of a language model is written into its output layer, which may leave its embedding for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import mergeometry as mg
from tests.helpers import learning_models, models
from tests.helpers.learning_recipes import COUNT, DISTILL, recipe_of

transformers = pytest.importorskip("transformers")


def causal(kind: str, tied: bool) -> Any:
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "tie_word_embeddings": tied}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=40, **special)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
            vocab_size=40, **special,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    return model.eval()


def causal_family(folder: Path, kind: str, tied: bool, twice: bool = False) -> dict[str, Any]:
    model = causal(kind, tied)
    places = [learning_models.save_base(model, folder / "base")]
    places += [learning_models.save_tuned(model, folder / f"task{task}", task) for task in range(2)]
    if twice:
        for place in places:
            disk = models.loaded(place)
            embedding = next(tensor for name, tensor in disk.items() if "embed_tokens" in name or "wte" in name)
            disk["lm_head.weight"] = embedding.clone()
            safetensors.torch.save_file(disk, place / "model.safetensors", metadata={"format": "pt"})
    tasks = [learning_models.task_of(folder, task, None, COUNT) for task in range(2)]
    return {"base": str(places[0]), "models": [str(place) for place in places[1:]], "adapt": {"tasks": tasks}}


@pytest.mark.parametrize("rotation", ["subspace", "full", "none"])
@pytest.mark.parametrize(
    ("tied", "twice"), [(True, False), (True, True), (False, False)], ids=["tied", "tied-stored-twice", "untied"]
)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_language_models_are_written_as_learned(
    kind: str, tied: bool, twice: bool, rotation: str, tmp_path: Path
) -> None:
    recipe = recipe_of(
        causal_family(tmp_path, kind, tied, twice), {**DISTILL, "rotation": rotation, "coefficients": "tensor"}
    )
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    prepared = learning_models.learned_by(recipe)
    encoder = prepared.scene.merged.encoder
    weights = prepared.scene.merged.weights(prepared.table, torch.float32)
    turn = prepared.scene.rotations[0]
    model, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    written = models.loaded(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    own_layer = not tied or twice or rotation != "none"
    assert ("lm_head.weight" in written) == own_layer
    assert config["tie_word_embeddings"] is (tied and rotation == "none")
    for task in range(2):
        z = learning_models.features_of(prepared, task, range(COUNT))
        logits = ((z if turn is None else turn(z)) @ encoder.head_weight(weights).T).detach()
        found = []
        for numbers in prepared.scene.inputs[task].items:
            with torch.no_grad():
                found.append(model.eval()(input_ids=torch.tensor([numbers])).logits[0, :-1])
        torch.testing.assert_close(torch.cat(found), logits, rtol=1e-4, atol=1e-4)
    embedding = next(tensor for name, tensor in written.items() if "embed_tokens" in name or "wte" in name)
    if tied and twice:
        same = written["lm_head.weight"] if turn is None else embedding @ turn.matrix().detach()
        assert torch.allclose(written["lm_head.weight"], same, atol=1e-5)
        assert not any("not run by the encoder" in warning for warning in run.warnings)
        assert "lm_head.weight" not in safetensors.torch.load_file(tmp_path / "out" / "adapt/coefficients.safetensors")
        assert turn is not None or torch.equal(written["lm_head.weight"], embedding)
    if turn is not None:
        assert float((written["lm_head.weight"] - weights_of_output(encoder, weights)).abs().max()) > 1e-3
        assert set(safetensors.torch.load_file(tmp_path / "out" / "adapt/rotations.safetensors")) == {"shared"}


def weights_of_output(encoder: Any, weights: Mapping[str, Tensor]) -> Tensor:
    return encoder.head_weight(weights).detach()
