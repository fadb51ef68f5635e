"""Language models learn from their experts' next tokens, and what is written predicts what was learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mergeometry import merge
from mergeometry.encoders.batches import split
from tests.helpers import learning_models, models

TASKS = ("low", "high")
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COUNT, HELD_OUT, SEED = 48, 0.25, 3


def domain(task: int, count: int, seed: int) -> list[str]:
    """Texts of one half of the words, which the other task never reads."""
    generator = torch.Generator().manual_seed(1000 * task + seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(2, 10, (), generator=generator))
        numbers = torch.randint(0, 17, (length,), generator=generator) + 17 * task
        found.append(" ".join(learning_models.WORDS[number] for number in numbers.tolist()))
    return found


def llama(tied: bool) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def inputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("language")
    model = llama(request.param)
    learning_models.save_base(model, folder / "base")
    tasks = []
    for number, name in enumerate(TASKS):
        if request.param:
            models.peft_adapter(model, folder / name, LINEARS, number, rank=2)
        else:
            learning_models.save_tuned(model, folder / name, number)
        texts = learning_models.save_texts(folder / f"{name}.jsonl", domain(number, COUNT, 0))
        tasks.append({"name": name, "data": str(texts)})
    return {
        "base": str(folder / "base"),
        "models": [str(folder / name) for name in TASKS],
        "seed": SEED,
        "adapt": {
            "objective": "distill", "hidden": 0, "tasks": tasks, "precision": "float32", "learning_rate": 0.03,
            "held_out": HELD_OUT, "batch_size": 8, "steps": 40,
        },
    }  # fmt: skip


def loaded(folder: str | Path, base: str) -> Any:
    import peft
    import transformers

    adapter = (Path(folder) / "adapter_config.json").is_file()
    model = transformers.AutoModelForCausalLM.from_pretrained(base if adapter else folder)
    return (peft.PeftModel.from_pretrained(model, str(folder)) if adapter else model).eval()


def divergence(model: Any, inputs: Mapping[str, Any], texts: Mapping[str, list[str]]) -> float:
    """Mean over tasks of the mean of ``KL(expert || model)`` at every token that predicts one, text by text."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(inputs["base"])
    total = 0.0
    for name, folder in zip(TASKS, inputs["models"], strict=True):
        expert, values = loaded(folder, inputs["base"]), []
        for text in texts[name]:
            tokens = tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                theirs, ours = (one(tokens).logits[0, :-1].double().softmax(-1) for one in (expert, model))
            values += (theirs * (theirs / ours).log()).sum(-1).tolist()
        total += sum(values) / len(values) / len(TASKS)
    return total


@pytest.mark.suite
@pytest.mark.parametrize("rotation", ["none", "subspace"])
def test_the_folder_diverges_less_and_as_much_as_learning_said(
    inputs: dict[str, Any], rotation: str, tmp_path: Path
) -> None:
    settings = {"rotation": rotation, "rotation_learning_rate": 0.01, "coefficients": "pair"}
    recipe = {**inputs, "method": "tsv_m", "scale": 0.5}
    merge({key: value for key, value in recipe.items() if key != "adapt"}, tmp_path / "before")
    merge({**recipe, "adapt": {**inputs["adapt"], **settings}}, tmp_path / "learned")
    before, learned = (loaded(tmp_path / name, inputs["base"]) for name in ("before", "learned"))

    held = {}
    for number, name in enumerate(TASKS):
        _, rows = split(COUNT, HELD_OUT, 200, SEED, number)
        held[name] = [domain(number, COUNT, 0)[row] for row in rows]
    curve = json.loads((tmp_path / "learned" / "adapt" / "curves.json").read_text())
    said = [point["held_out"] for point in curve if point["held_out"] is not None]
    assert divergence(before, inputs, held) == pytest.approx(said[0], rel=1e-4)
    assert divergence(learned, inputs, held) == pytest.approx(min(said), rel=1e-4)

    fresh = {name: domain(number, 20, 1) for number, name in enumerate(TASKS)}
    assert divergence(learned, inputs, fresh) < 0.9 * divergence(before, inputs, fresh)


def test_a_rotation_turns_features_before_the_output_layer(inputs: dict[str, Any], tmp_path: Path) -> None:
    adapt = {**inputs["adapt"], "steps": 5, "held_out": 0, "coefficients": "fixed", "rotation": "subspace"}
    recipe = {**inputs, "method": "task_arithmetic", "scale": 0.5}
    merge({key: value for key, value in recipe.items() if key != "adapt"}, tmp_path / "plain")
    merge({**recipe, "adapt": {**adapt, "rotation_learning_rate": 0.1}}, tmp_path / "turned")
    plain, turned = (loaded(tmp_path / name, inputs["base"]) for name in ("plain", "turned"))
    rotation = load_file(tmp_path / "turned" / "adapt" / "rotations.safetensors")["shared"]
    assert (rotation - torch.eye(16)).norm() > 0.1
    tokens = torch.tensor([[4, 9, 21, 30]])
    with torch.no_grad():
        features: Tensor = plain.model(tokens).last_hidden_state
        expected = (features @ rotation.mT) @ plain.get_output_embeddings().weight.mT
        torch.testing.assert_close(turned(tokens).logits, expected, rtol=1e-4, atol=1e-5)
    assert turned.config.tie_word_embeddings is False
    embedding = turned.get_input_embeddings().weight
    torch.testing.assert_close(embedding, plain.get_input_embeddings().weight, rtol=0, atol=0)
