"""The full fine-tunes of one board, a seeded draw of unlabelled texts, and the test texts that score a merge."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.encoders.batches import generator
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_checkpoint
from mergeometry_suite.backbone import backbone
from mergeometry_suite.full import load_full_expert
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import load

LENGTH = 32

Drawn = Literal["new", "trained on"]
"""Texts that no expert was trained on, of the validation split, or those that they were trained on."""


class Scene:
    """Scores weights on the test texts of some tasks, of which nothing else is ever read from there."""

    def __init__(self, tasks: Sequence[str], test: int, drawn: Drawn = "new", trained: int = 0) -> None:
        self.tasks, self.drawn = tuple(tasks), drawn
        self.experts = {task: load_full_expert(task, seed=trained) for task in tasks}
        tokenizer = Tokenizer(backbone(), LENGTH)
        self._encoder = Encoder(backbone())
        self._test = {}
        for task in tasks:
            split = load(task).test.take(test)
            self._test[task] = (tokenizer.prepare(split.texts), torch.tensor(split.labels))

    def accuracies(self, weights: Mapping[str, Tensor], tasks: Sequence[str] | None = None) -> dict[str, float]:
        """The share of each task's test texts that its head classifies correctly on these weights' features."""
        self._encoder.load(weights)
        shares = {}
        for task in tasks or self.tasks:
            texts, labels = self._test[task]
            predicted = self.experts[task].head.predict(self._encoder.encode(texts))
            shares[task] = float((predicted == labels).float().mean())
        return shares

    @cached_property
    def ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        experts: dict[str, float] = {}
        for task in self.tasks:
            experts |= self.accuracies(read_weights(self.experts[task].folder), (task,))
        return {"base": self.accuracies(read_weights(backbone())), "experts": experts}

    @cached_property
    def merged(self) -> dict[str, Tensor]:
        """The merge without data that is chosen where a recipe names no method."""
        with tempfile.TemporaryDirectory() as folder:
            mg.merge(self.recipe({}), Path(folder) / "out", workers=1)
            return read_weights(Path(folder) / "out")

    def texts(self, task: str, count: int, seed: int) -> list[str]:
        """A draw of the task's texts; a larger one of the same seed holds a smaller."""
        splits = load(task)
        texts = splits.train.texts if self.drawn == "trained on" else splits.validation.texts
        order = torch.randperm(len(texts), generator=generator("few inputs", task, seed)).tolist()
        return [texts[row] for row in order[:count]]

    def write(self, folder: Path, count: int, seed: int) -> dict[str, str]:
        """The draw as a file per task."""
        folder.mkdir(parents=True, exist_ok=True)
        places = {}
        for task in self.tasks:
            place = folder / f"{task}-{count}-{seed}.jsonl"
            place.write_text("".join(json.dumps({"text": text}) + "\n" for text in self.texts(task, count, seed)))
            places[task] = str(place)
        return places

    def recipe(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe that merges the tasks' fine-tunes."""
        models = [{"path": str(self.experts[task].folder), "name": task} for task in self.tasks]
        return {"base": str(backbone()), "models": models, **keys}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint in float32."""
    with TensorReader() as reader, one_thread():
        tensors = open_checkpoint(folder, "model").tensors
        return {name: reader.read(info).float() for name, info in tensors.items() if info.code.startswith(("F", "BF"))}
