"""Short recipes that learn on the tiny families, and what their outputs are held to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch import Tensor

from tests.helpers import learning_models, models
from tests.helpers.learning_runs import CLASSES

COUNT = 24
QUICK = {
    "objective": "mda", "coefficients": "layer", "steps": 6, "check_every": 2, "batch_size": 4, "held_out": 0.25,
    "patience": 0, "learning_rate": 0.05, "rotation_learning_rate": 0.05,
}  # fmt: skip
DISTILL = {**QUICK, "objective": "distill", "coefficients": "layer", "hidden": 0.5}


def recipe_of(inputs: Mapping[str, Any], settings: Mapping[str, Any], **recipe: Any) -> dict[str, Any]:
    return learning_models.with_settings(inputs, settings, **{"method": "mda", "scale": 0.4, "seed": 5, **recipe})


def with_task(inputs: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    first, *others = inputs["adapt"]["tasks"]
    changed = {key: value for key, value in {**first, **changes}.items() if value is not None}
    return {**inputs, "adapt": {"tasks": [changed, *others]}}


def bad_head(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    safetensors.torch.save_file(dict(tensors), folder / "head.safetensors")
    return str(folder / "head.safetensors")


def texts_of(recipe: Mapping[str, Any], task: int) -> list[str]:
    lines = Path(recipe["adapt"]["tasks"][task]["data"]).read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def pooled_by(model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Mean-pooled features as transformers computes them, text by text."""
    with torch.no_grad():
        found = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.stack(found)


def check_features(prepared: Any, recipe: Mapping[str, Any], model: Any, output: Path) -> None:
    """Features of the folder, and the predictions of its heads, are those of the learner with its rotations."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe["base"])
    for task, own in enumerate(prepared.heads):
        z = learning_models.features_of(prepared, task, range(COUNT))
        found = pooled_by(model.eval(), tokenizer, texts_of(recipe, task))
        torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-5)
        rotation = prepared.scene.rotations[task]
        logits = own.logits(z if rotation is None else rotation(z)).detach()
        head = models.loaded(output / "heads", f"task{task}")
        assert set(head) == {"weight", "bias"} and head["weight"].shape == (CLASSES[task], 16)
        torch.testing.assert_close(found @ head["weight"].T + head["bias"], logits, rtol=1e-3, atol=1e-4)
        assert torch.equal((found @ head["weight"].T + head["bias"]).argmax(dim=1), logits.argmax(dim=1))
        if rotation is not None:
            assert float((head["weight"] - own.weight).abs().max()) > 1e-3, "the rotation is not in the head"
