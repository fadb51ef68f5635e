"""Test texts of many tasks on one merged model, each with the residual that a router, or its own name, chooses."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies.residuals.scene import Scene, merged_weights, with_residual
from benchmarks.studies.routing.without_data import folders_of
from mergeometry_suite.tasks import load

_TOGETHER = 32

Choices = Mapping[str, Sequence[int]]
"""Task to the number of the residual that each of its test texts is given."""


class Routed:
    """A board's merge with its residuals, and its test texts under any choice of residuals."""

    def __init__(self, scene: Scene, merged: Path, test: int) -> None:
        self.scene, self.folders = scene, folders_of(merged)
        self.tasks = tuple(scene.tasks)
        self.merged = merged_weights(merged)
        self._texts = {task: load(task).test.take(test).texts for task in self.tasks}
        self._right: dict[tuple[str, int], dict[int, bool]] = {}

    def batches(self, task: str) -> Iterator[dict[str, Tensor]]:
        """A task's test texts in order, as a tokenizer gives them."""
        return self._tokenised(self._texts[task])

    def drawn(self, task: str, count: int, seed: int) -> dict[str, Tensor]:
        """Training texts of a task, without their labels; draws of other seeds share hardly any."""
        texts = random.Random(f"{seed} {task}").sample(load(task).train.texts, count)
        return next(self._tokenised(texts, count))

    def _tokenised(self, texts: Sequence[str], together: int = _TOGETHER) -> Iterator[dict[str, Tensor]]:
        tokenizer = self.scene.tokenizer
        for start in range(0, len(texts), together):
            pieces = tokenizer.pieces(texts[start : start + together])
            batch = tokenizer.batch(pieces, range(len(pieces)))
            yield {"input_ids": batch.tokens, "attention_mask": batch.mask}

    def score(self, arms: Mapping[Any, Choices]) -> None:
        """Run every text under every residual that any of the arms gives it, once each."""
        for number, task_of_residual in enumerate(self.tasks):
            wanted = {
                task: sorted({row for chosen in arms.values() for row, one in enumerate(chosen[task]) if one == number})
                for task in self.tasks
            }
            if not any(wanted.values()):
                continue
            self.scene.load(with_residual(self.merged, self.folders[task_of_residual]))
            for task, rows in wanted.items():
                known = self._right.setdefault((task, number), {})
                if rows := [row for row in rows if row not in known]:
                    features = self.scene.encode([self._texts[task][row] for row in rows])
                    right = self.scene.experts[task].head.predict(features) == self.scene.labels(task)[rows]
                    known.update(zip(rows, right.tolist(), strict=True))

    def figures(self, chosen: Choices) -> dict[str, dict[str, float]]:
        """By task: texts whose own residual was chosen, answers right, and both at once; all as shares."""
        told: dict[str, dict[str, float]] = {"routed": {}, "accuracy": {}, "both": {}}
        for place, task in enumerate(self.tasks):
            rows = list(enumerate(chosen[task]))
            right = [self._right[task, number][row] for row, number in rows]
            told["routed"][task] = mean(float(number == place) for _, number in rows)
            told["accuracy"][task] = mean(map(float, right))
            told["both"][task] = mean(
                float(one and number == place) for one, (_, number) in zip(right, rows, strict=True)
            )
        return told


def argmax(scores: Sequence[Tensor]) -> list[int]:
    """The task of the largest score of every input."""
    return torch.cat(list(scores)).argmax(dim=1).tolist()
