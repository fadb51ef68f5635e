"""Scores weights on the suite's texts; runs in worker processes, one encoder each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.comparison.gain import Correct
from mergeometry.encoders.heads import Head
from mergeometry.execution.threads import one_thread
from mergeometry.sources import Checkpoint, TensorReader, open_adapter, open_checkpoint, read_factors
from mergeometry_suite.backbone import PIECES
from mergeometry_suite.command import load_expert
from mergeometry_suite.minilm import Encoder, Prepared, Tokenizer
from mergeometry_suite.tasks import load

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class TaskTexts:
    """One task's texts ready to be encoded, with the answers and the frozen head."""

    texts: Prepared
    labels: Tensor
    head: Head


class Scorer:
    """Holds the suite's texts and one encoder that takes any weights of the backbone's shape."""

    def __init__(self, backbone: Path, tasks: tuple[str, ...], validation: int, test: int) -> None:
        tokenizer = Tokenizer(backbone, PIECES)
        self._encoder = Encoder(backbone)
        self.base: Weights = read_weights(open_checkpoint(backbone, "base"))
        self._splits: dict[str, dict[str, TaskTexts]] = {"validation": {}, "test": {}}
        for task in tasks:
            splits, head = load(task), load_expert(task).head
            for name, split in (("validation", splits.validation.take(validation)), ("test", splits.test.take(test))):
                prepared = tokenizer.prepare(split.texts)
                self._splits[name][task] = TaskTexts(prepared, torch.tensor(split.labels), head)

    def correct(self, weights: Weights, split: str, tasks: tuple[str, ...] | None = None) -> Correct:
        """Whether each text of a split is classified right, for the given tasks or all."""
        self._encoder.load(weights)
        found = {}
        for task, examined in self._splits[split].items():
            if tasks is None or task in tasks:
                features = self._encoder.encode(examined.texts)
                found[task] = (examined.head.predict(features) == examined.labels).tolist()
        return found

    def give_head(self, task: str, weight: Tensor, bias: Tensor) -> None:
        """Classify a task with another head from here on: one that learning has turned."""
        for examined in self._splits.values():
            examined[task] = replace(examined[task], head=Head(weight, bias))

    def moved(self, merged: Weights, scale: float) -> Weights:
        """The weights that a merge would have at another scale: a merge is linear in it."""
        return {
            name: weight + scale * (merged[name] - weight) if weight.is_floating_point() else weight
            for name, weight in self.base.items()
        }

    def experts(self) -> Correct:
        """Each expert on the test texts of its own task."""
        found: dict[str, Sequence[float]] = {}
        for task in self._splits["test"]:
            adapter, weights = open_adapter(load_expert(task).folder, task), dict(self.base)
            with TensorReader() as reader, one_thread():
                for name, delta in adapter.deltas.items():
                    left, right = read_factors(reader.read, delta)
                    weights[name] = weights[name] + delta.scaling * left @ right
            found.update(self.correct(weights, "test", (task,)))
        return found


def read_weights(checkpoint: Checkpoint) -> Weights:
    """All tensors of a checkpoint."""
    with TensorReader() as reader:
        return {name: reader.read(info) for name, info in checkpoint.tensors.items()}
