"""The places that a merge reaches in a model: which parameter each tensor on disk is, and an expert's weights there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeometry.encoders.base import Encoder
from mergeometry.errors import DataError
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.plan.tasks import Plan
from mergeometry.sources import TensorReader
from mergeometry.values import LowRank


@dataclass(frozen=True, slots=True)
class Site:
    """One tensor of the model: its name on disk, where the model runs it, and whether it lies transposed there."""

    name: str
    parameter: str
    transposed: bool


def expert_weights(plan: Plan, index: int, encoder: Encoder, sites: Sequence[Site]) -> Iterator[tuple[str, Tensor]]:
    """The weights of one fine-tuned model by parameter, for those that differ from the base's."""
    tasks = {task.name: task for task in plan.tasks}
    with TensorReader() as reader:
        files = TaskReader(reader, [model.label for model in plan.models])
        for site in sites:
            task = tasks[site.name]
            if task.sources[index] is None:
                continue
            vectors = TaskVectors(task, files)
            delta = vectors[index]
            update = delta.dense() if isinstance(delta, LowRank) else delta.float()
            yield site.parameter, vectors.stored_base.to(torch.float32).add(update.mT if task.transposed else update)


def sites_of(plan: Plan, encoder: Encoder) -> list[Site]:
    """Where the merged tensors are run.

    Raises:
        DataError: the model runs none of them.
    """
    found = []
    for task in plan.tasks:
        parameter = encoder.names.get(task.name)
        if task.method is not None and parameter is not None:
            found.append(Site(task.name, parameter, task.transposed))
    if not found:
        raise DataError("the model runs none of the tensors that are merged", hint="see `encoder:` in the recipe")
    return found
