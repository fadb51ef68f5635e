"""Two boards of the same eight tasks: the adapters that ship with the suite, and full fine-tunes from the cache."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.studies.scores import read_weights
from benchmarks.studies.text_scores import text_scores, write_texts
from mergeometry.execution.threads import one_thread
from mergeometry.sources import TensorReader, open_adapter, read_factors
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import TEXT_8, load_expert, load_full_expert
from mergeometry_suite.tasks import load

BOARDS = ("adapters", "full")


class Board:
    """The experts of one board, scored on all test texts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.experts = {task: load_expert(task) if name == "adapters" else load_full_expert(task) for task in TEXT_8}
        self.scores = text_scores(self.experts)

    @cached_property
    def expert_ends(self) -> dict[str, dict[str, float]]:
        """The base, and each expert on its own task."""
        return self.scores.ends(self._expert)

    def tasks(self, folder: Path, read: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The tasks to learn on, with their own training texts where these are to be ``read``."""
        folder.mkdir(parents=True, exist_ok=True)
        tasks = []
        for task, expert in self.experts.items():
            data = {}
            if read is not None:
                data = {"data": {"path": write_texts(folder / f"{task}.jsonl", load(task).train.texts), **read}}
            tasks.append({"name": task, "head": str(expert.folder / "head.safetensors"), **data})
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
