"""Where a merge acts in a model: the parameter of each tensor on disk, and an expert's weights there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeometry.encoders.base import Encoder
from mergeometry.errors import DataError
from mergeometry.execution.task_reader import TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.plan.plan import Plan
from mergeometry.sources import TensorReader
from mergeometry.values import LowRank


@dataclass(frozen=True, slots=True)
class Site:
    """One tensor of the model: its name on disk, its parameter, and whether that stores it transposed."""

    name: str
    parameter: str
    transposed: bool


def expert_weights(plan: Plan, index: int, encoder: Encoder, sites: Sequence[Site]) -> Iterator[tuple[str, Tensor]]:
    """The weights of one fine-tuned model that differ from the base's, by parameter."""
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
    """The merged tensors that the model runs, each with its parameter.

    Raises:
        DataError: the model runs none of the merged tensors.
    """
    sites = []
    for task in plan.tasks:
        parameter = encoder.names.get(task.name)
        if task.method is not None and parameter is not None:
            sites.append(Site(task.name, parameter, task.transposed))
    if not sites:
        raise DataError(
            "the model runs none of the tensors that are merged",
            hint="check the model's kind: encoder: {kind: text | image | causal | seq2seq}",
        )
    return sites
