"""The full fine-tunes of one board, their merge without data, and seeded draws of unlabelled inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mergeometry as mg
from benchmarks.studies.few_inputs.images import Images
from benchmarks.studies.few_inputs.kinds import Drawn, Kind
from benchmarks.studies.few_inputs.texts import Texts
from benchmarks.studies.scores import read_weights
from mergeometry.encoders.batches import generator
from mergeometry_suite.vision.tasks import VISION_TASKS


def kind_of(tasks: Sequence[str]) -> Kind:
    """What the tasks' inputs are."""
    return Images() if set(tasks) <= set(VISION_TASKS) else Texts()


class Scene:
    """Full fine-tunes of the tasks, scored on ``test`` inputs of each; ``trained`` is their training seed."""

    def __init__(self, tasks: Sequence[str], test: int, drawn: Drawn = "new", trained: int = 0) -> None:
        self.kind = kind_of(tasks)
        self.drawn: Drawn = drawn
        self.experts = {task: self.kind.expert(task, trained) for task in tasks}
        self.scores = self.kind.scores(self.experts, test)

    @cached_property
    def expert_ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        return self.scores.ends(lambda task: read_weights(self.experts[task].folder))

    @cached_property
    def merged(self) -> dict[str, Tensor]:
        """The merge without data that is chosen where a recipe names no method."""
        with tempfile.TemporaryDirectory() as folder:
            mg.merge(self.scores.recipe(), Path(folder) / "out", workers=1)
            return read_weights(Path(folder) / "out")

    def draw(self, task: str, count: int, seed: int) -> list[Any]:
        """Some of the task's inputs; a larger draw of the same seed holds a smaller."""
        inputs = self.kind.inputs(task, self.drawn)
        order = torch.randperm(len(inputs), generator=generator("few inputs", task, seed)).tolist()
        return [inputs[row] for row in order[:count]]

    def learned_on(self, places: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
        """The `adapt:` section of a recipe that learns on the inputs in some files, by each expert's own head."""
        tasks = [
            {"name": task, "data": place, "head": str(self.experts[task].folder / "head.safetensors")}
            for task, place in places.items()
        ]
        return {"encoder": dict(self.kind.encoder), **settings, "tasks": tasks}

    def write(self, folder: Path, count: int, seed: int) -> dict[str, str]:
        """The draw as a file per task."""
        folder.mkdir(parents=True, exist_ok=True)
        return {
            task: self.kind.write(folder / f"{task}-{count}-{seed}.jsonl", self.draw(task, count, seed))
            for task in self.experts
        }
