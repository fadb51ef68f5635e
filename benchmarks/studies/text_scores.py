"""Scores weights of the suite's text encoder on the test texts of some tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeometry.encoders.heads import Head
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_checkpoint
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import Expert
from mergeometry_suite.minilm import Encoder, Tokenizer
from mergeometry_suite.tasks import load

LENGTH = 32


class TextScores:
    """Scores by the experts' heads on at most ``count`` test texts per task; nothing else is read from there."""

    def __init__(self, experts: Mapping[str, Expert], count: int | None = None) -> None:
        self.experts = experts
        tokenizer, self._encoder = Tokenizer(backbone(), LENGTH), Encoder(backbone())
        self._test = {}
        for task in experts:
            split = load(task).test if count is None else load(task).test.take(count)
            self._test[task] = (tokenizer.prepare(split.texts), torch.tensor(split.labels))

    def accuracies(
        self, weights: Mapping[str, Tensor], tasks: Iterable[str] | None = None, heads: Mapping[str, Head] | None = None
    ) -> dict[str, float]:
        """The share of each task's test texts that its head classifies correctly on these weights' features.

        ``heads`` take the place of the experts' own.
        """
        self._encoder.load(weights)
        shares = {}
        for task in self.experts if tasks is None else tasks:
            texts, labels = self._test[task]
            predicted = (heads or {}).get(task, self.experts[task].head).predict(self._encoder.encode(texts))
            shares[task] = float((predicted == labels).float().mean())
        return shares

    def ends(self, weights_of: Callable[[str], Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
        """The base, and each expert, whose weights ``weights_of`` gives, on its own task."""
        experts: dict[str, float] = {}
        for task in self.experts:
            experts |= self.accuracies(weights_of(task), (task,))
        return {"base": self.accuracies(read_weights(backbone())), "experts": experts}

    def recipe(self) -> dict[str, Any]:
        """A recipe that merges the experts."""
        models = [{"path": str(expert.folder), "name": task} for task, expert in self.experts.items()]
        return {"base": str(backbone()), "models": models}


def write_texts(place: Path, texts: Iterable[str]) -> str:
    """Write unlabelled inputs as JSON lines, and return the place as a recipe names it."""
    place.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(place)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint in float32."""
    with TensorReader() as reader, one_thread():
        tensors = open_checkpoint(folder, "model").tensors
        return {name: reader.read(info).float() for name, info in tensors.items() if info.code.startswith(("F", "BF"))}
