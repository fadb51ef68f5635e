"""Compares a model's answers with those of a task's expert."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from mergeometry.diagnostics.kernel_alignment import linear_cka, unbiased_cka
from mergeometry.encoders import Inputs
from mergeometry.feature_figures.answers import Answers
from mergeometry.feature_figures.load import TaskInputs
from mergeometry.feature_figures.shares import of_inputs, of_tokens
from mergeometry.inspection.on_inputs import ModelOnInputs, Share


def of_expert(task: TaskInputs, own: Answers) -> ModelOnInputs:
    """The figures of a task's expert, with which the others are compared."""
    return ModelOnInputs(None, own.entropy, None, None, (), own.collapse, _accuracy(task, own))


def against_expert(task: TaskInputs, inputs: Inputs, own: Answers, expert: Answers) -> ModelOnInputs:
    """The figures of another model on the same inputs."""
    return ModelOnInputs(
        agreement=_agreement(inputs, own, expert),
        entropy=own.entropy,
        cka=linear_cka(own.gram, expert.gram),
        cka_unbiased=unbiased_cka(own.gram, expert.gram),
        layers=tuple(map(_unbiased, own.layers, expert.layers)),
        collapse=own.collapse,
        accuracy=_accuracy(task, own),
    )


def _agreement(inputs: Inputs, own: Answers, expert: Answers) -> Share | None:
    if own.predicted is None or expert.predicted is None:
        return None
    equal = own.predicted == expert.predicted
    if all(count == 1 for count in inputs.rows):
        return of_inputs(int(equal.sum()), len(equal))
    return of_tokens([int(text.sum()) for text in equal.split(list(inputs.rows))], inputs.rows)


def _accuracy(task: TaskInputs, own: Answers) -> float | None:
    if task.labels is None or own.predicted is None:
        return None
    return float((own.predicted == torch.tensor(task.labels)).double().mean())


def _unbiased(own: Float64[Tensor, "n n"] | None, expert: Float64[Tensor, "n n"] | None) -> float | None:
    return None if own is None or expert is None else unbiased_cka(own, expert)
