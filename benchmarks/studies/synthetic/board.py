"""Boards of text and image experts: adapters, and full fine-tunes from the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.studies.image_scores import image_scores, write_images
from benchmarks.studies.scores import Expert, Scores, read_weights
from benchmarks.studies.text_scores import LENGTH, text_scores, write_texts
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_adapter, read_factors
from mergeometry_suite.command import TEXT_8, load_expert, load_full_expert
from mergeometry_suite.tasks import load
from mergeometry_suite.vision.experts import load_full_vision_expert, load_vision_expert
from mergeometry_suite.vision.tasks import VISION_SUITES, find_vision_task


@dataclass(frozen=True)
class Kind:
    """Experts of one form and kind of input, and how their own training inputs are written to be read."""

    tasks: Sequence[str]
    load: Callable[[str], Expert]
    scores: Callable[[Mapping[str, Expert]], Scores]
    write: Callable[[str, Path], str]
    encoder: Mapping[str, Any]


def _write_texts(task: str, folder: Path) -> str:
    return write_texts(folder / f"{task}.jsonl", load(task).train.texts)


def _write_images(task: str, folder: Path) -> str:
    return write_images(folder / f"{task}.jsonl", find_vision_task(task).read().train.pixels)


_TEXTS = {"scores": text_scores, "write": _write_texts, "encoder": {"max_length": LENGTH}, "tasks": TEXT_8}
_IMAGES = {
    "scores": image_scores, "write": _write_images, "encoder": {"kind": "image", "pooling": "first"},
    "tasks": VISION_SUITES["vision-6"],
}  # fmt: skip
BOARDS = {
    "text adapters": Kind(load=load_expert, **_TEXTS),
    "text full fine-tunes": Kind(load=load_full_expert, **_TEXTS),
    "image adapters": Kind(load=load_vision_expert, **_IMAGES),
    "image full fine-tunes": Kind(load=load_full_vision_expert, **_IMAGES),
}


class Board:
    """The experts of one board, scored on all test inputs."""

    def __init__(self, name: str) -> None:
        self.name, self.kind = name, BOARDS[name]
        self.experts = {task: self.kind.load(task) for task in self.kind.tasks}
        self.scores = self.kind.scores(self.experts)

    @cached_property
    def expert_ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        return self.scores.ends(lambda task: self.weights(self.experts[task].folder))

    def tasks(self, folder: Path, read: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The tasks to learn on, with their own training inputs where these are to be ``read``."""
        folder.mkdir(parents=True, exist_ok=True)
        tasks = []
        for task, expert in self.experts.items():
            data = {} if read is None else {"data": {"path": self.kind.write(task, folder), **read}}
            tasks.append({"name": task, "head": str(expert.folder / "head.safetensors"), **data})
        return tasks

    def weights(self, folder: Path) -> dict[str, Tensor]:
        """The weights of an expert or a merge: of an adapter, the base's with it added."""
        if not (folder / "adapter_config.json").is_file():
            return read_weights(folder)
        adapter, weights = open_adapter(folder, folder.name), read_weights(self.scores.base)
        with TensorReader() as reader, one_thread():
            for name, delta in adapter.deltas.items():
                left, right = read_factors(reader.read, delta)
                weights[name] = weights[name] + delta.scaling * left @ right
        return weights
