"""The full fine-tunes of one board, their merge without data, and seeded draws of unlabelled texts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import mergeometry as mg
from benchmarks.studies.text_scores import LENGTH, TextScores, read_weights, write_texts
from mergeometry.encoders.batches import generator
from mergeometry_suite.full import load_full_expert
from mergeometry_suite.tasks import load

Drawn = Literal["new", "trained on"]
"""Texts that no expert was trained on, of the validation split, or those that they were trained on."""


class Scene(TextScores):
    """Full fine-tunes of the tasks, scored on ``test`` texts of each; ``trained`` is their training seed."""

    def __init__(self, tasks: Sequence[str], test: int, drawn: Drawn = "new", trained: int = 0) -> None:
        super().__init__({task: load_full_expert(task, seed=trained) for task in tasks}, test)
        self.drawn = drawn

    @cached_property
    def expert_ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        return self.ends(lambda task: read_weights(self.experts[task].folder))

    @cached_property
    def merged(self) -> dict[str, Tensor]:
        """The merge without data that is chosen where a recipe names no method."""
        with tempfile.TemporaryDirectory() as folder:
            mg.merge(self.recipe(), Path(folder) / "out", workers=1)
            return read_weights(Path(folder) / "out")

    def texts(self, task: str, count: int, seed: int) -> list[str]:
        """A draw of the task's texts; a larger one of the same seed holds a smaller."""
        splits = load(task)
        texts = splits.train.texts if self.drawn == "trained on" else splits.validation.texts
        order = torch.randperm(len(texts), generator=generator("few inputs", task, seed)).tolist()
        return [texts[row] for row in order[:count]]

    def learned_on(self, places: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
        """The `adapt:` section of a recipe that learns on the texts in some files, by each expert's own head."""
        tasks = [
            {"name": task, "data": place, "head": str(self.experts[task].folder / "head.safetensors")}
            for task, place in places.items()
        ]
        return {"encoder": {"max_length": LENGTH}, **settings, "tasks": tasks}

    def write(self, folder: Path, count: int, seed: int) -> dict[str, str]:
        """The draw as a file per task."""
        folder.mkdir(parents=True, exist_ok=True)
        return {
            task: write_texts(folder / f"{task}-{count}-{seed}.jsonl", self.texts(task, count, seed))
            for task in self.experts
        }
