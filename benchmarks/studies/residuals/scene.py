"""Experts of some text tasks, one form of them; merges of them with residuals, scored on test texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_checkpoint
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import load_expert
from mergeometry_suite.full import load_full_expert
from mergeometry_suite.minilm import Encoder, Prepared, Tokenizer
from mergeometry_suite.tasks import SUITES, load

LENGTH = 32
PREFIX = "base_model.model."


class Scene:
    """Scores weights on the test texts of a board's tasks: of each task's own, on the features of its own head."""

    def __init__(self, board: str, form: str, test: int) -> None:
        self.tasks = tuple(SUITES[board])
        self.experts = {task: load_full_expert(task) if form == "full" else load_expert(task) for task in self.tasks}
        self.tokenizer = Tokenizer(backbone(), LENGTH)
        self._encoder = Encoder(backbone())
        self.base = _weights(backbone())
        self._test: dict[str, tuple[Prepared, Tensor]] = {}
        for task in self.tasks:
            split = load(task).test.take(test)
            self._test[task] = (self.tokenizer.prepare(split.texts), torch.tensor(split.labels))

    def labels(self, task: str) -> Tensor:
        """The classes of its test texts."""
        return self._test[task][1]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Run these weights from now on."""
        self._encoder.load(weights)

    def features(self, task: str) -> Tensor:
        """The features of a task's test texts."""
        return self._encoder.encode(self._test[task][0])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """The features of any texts."""
        return self._encoder.encode(self.tokenizer.prepare(texts))

    def accuracy(self, task: str, features: Tensor) -> float:
        """The share of a task's test texts that its head classifies correctly."""
        return float((self.experts[task].head.predict(features) == self.labels(task)).float().mean())

    def accuracies_of(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """The same of every task on the features that these weights give."""
        self.load(weights)
        return {task: self.accuracy(task, self.features(task)) for task in self.tasks}

    def expert_accuracies(self) -> dict[str, float]:
        """Of each expert on its own task, as it is without a merge."""
        shares = {}
        for task in self.tasks:
            self.load(self._expert(task))
            shares[task] = self.accuracy(task, self.features(task))
        return shares

    def recipe(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe that merges the experts as is chosen where no method is named."""
        models = [{"path": str(self.experts[task].folder), "name": task} for task in self.tasks]
        return {"base": str(backbone()), "models": models, **keys}

    def merge(self, folder: Path, residuals: Mapping[str, Any] | None) -> Any:
        """Merge the experts into a folder; the record, kept beside what is read of it later."""
        output = {"residuals": dict(residuals)} if residuals else {}
        return mg.merge(self.recipe({"output": output}), folder, workers=1, overwrite=True)

    def _expert(self, task: str) -> dict[str, Tensor]:
        folder = self.experts[task].folder
        if (folder / "model.safetensors").exists():
            return _weights(folder)
        added = _added(folder, self.base)
        return {**self.base, **{name: self.base[name] + change for name, change in added.items()}}


def merged_weights(folder: Path) -> dict[str, Tensor]:
    """The merged model's tensors in float32."""
    return _weights(folder)


def with_residual(merged: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The merged model with one residual in it."""
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    stored = _stored(folder / "adapter_model.safetensors")
    weights = {name: merged[name] + change for name, change in _added(folder, merged).items()}
    for module, rows in (settings.get("trainable_token_indices") or {}).items():
        name = f"{module}.weight"
        weights[name] = merged[name].clone()
        weights[name][rows] = stored[f"{module}.token_adapter.trainable_tokens_delta"]
    for name, value in stored.items():
        if name in merged:
            weights[name] = value
    return {**merged, **weights}


def _added(folder: Path, below: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the factors of an adapter, and their biases, add to the weights that they lie on."""
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    stored, added = _stored(folder / "adapter_model.safetensors"), {}
    for name, down in stored.items():
        if not name.endswith(".lora_A.weight"):
            continue
        module = name.removesuffix(".lora_A.weight")
        rank = settings.get("rank_pattern", {}).get(module, settings["r"])
        scale = settings.get("alpha_pattern", {}).get(module, settings["lora_alpha"]) / rank
        added[f"{module}.weight"] = scale * stored[f"{module}.lora_B.weight"] @ down
        if f"{module}.lora_B.bias" in stored:
            added[f"{module}.bias"] = scale * stored[f"{module}.lora_B.bias"]
    assert all(name in below for name in added)
    return added


def _stored(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # noqa: PLC0415

    return {name.removeprefix(PREFIX): value.float() for name, value in load_file(file).items()}


def _weights(folder: Path) -> dict[str, Tensor]:
    with TensorReader() as reader, one_thread():
        tensors = open_checkpoint(folder, "model").tensors
        return {name: reader.read(info).float() for name, info in tensors.items() if info.code.startswith(("F", "BF"))}
