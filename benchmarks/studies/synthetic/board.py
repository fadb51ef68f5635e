"""Two boards of the same eight tasks: the adapters that ship with the suite, and full fine-tunes from the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.few_inputs.scene import LENGTH, read_weights
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_adapter, read_factors
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import TEXT_8, load_expert, load_full_expert
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import load

BOARDS = ("adapters", "full")


class Board:
    """Scores weights on test texts, of which nothing else is ever read from there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.experts = {task: load_expert(task) if name == "adapters" else load_full_expert(task) for task in TEXT_8}
        tokenizer, self._encoder = Tokenizer(backbone(), LENGTH), Encoder(backbone())
        self._test = {}
        for task in TEXT_8:
            split = load(task).test
            self._test[task] = (tokenizer.prepare(split.texts), torch.tensor(split.labels))

    def accuracies(self, weights: Mapping[str, Tensor], tasks: tuple[str, ...] = TEXT_8) -> dict[str, float]:
        """The share of each task's test texts that its head classifies correctly on these weights' features."""
        self._encoder.load(weights)
        shares = {}
        for task in tasks:
            texts, labels = self._test[task]
            predicted = self.experts[task].head.predict(self._encoder.encode(texts))
            shares[task] = float((predicted == labels).float().mean())
        return shares

    @cached_property
    def ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        experts: dict[str, float] = {}
        for task in TEXT_8:
            experts |= self.accuracies(self._expert(task), (task,))
        return {"base": self.accuracies(read_weights(backbone())), "experts": experts}

    def recipe(self) -> dict[str, Any]:
        """A recipe that merges the tasks' models."""
        models = [{"path": str(self.experts[task].folder), "name": task} for task in TEXT_8]
        return {"base": str(backbone()), "models": models}

    def tasks(self, folder: Path, read: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The tasks to learn on, with their own training texts where these are to be ``read``."""
        folder.mkdir(parents=True, exist_ok=True)
        tasks = []
        for task in TEXT_8:
            data = {}
            if read is not None:
                place = folder / f"{task}.jsonl"
                place.write_text("".join(json.dumps({"text": text}) + "\n" for text in load(task).train.texts))
                data = {"data": {"path": str(place), **read}}
            tasks.append({"name": task, "head": str(self.experts[task].folder / "head.safetensors"), **data})
        return tasks

    def _expert(self, task: str) -> dict[str, Tensor]:
        if self.name == "full":
            return read_weights(self.experts[task].folder)
        adapter, weights = open_adapter(self.experts[task].folder, task), read_weights(backbone())
        with TensorReader() as reader, one_thread():
            for name, delta in adapter.deltas.items():
                left, right = read_factors(reader.read, delta)
                weights[name] = weights[name] + delta.scaling * left @ right
        return weights
