"""Fits a router to a few unlabelled inputs of each task, by a model in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mergeometry.errors import DataError, NumericalError
from mergeometry.routing.confidence import confidence
from mergeometry.routing.discriminant import discriminant
from mergeometry.routing.features import inputs_in, middle_of, task_features
from mergeometry.routing.router import Router


def fit_router(model: nn.Module, inputs: Mapping[str, Mapping[str, Tensor]], *, layer: int | None = None) -> Router:
    """Fit a router to unlabelled inputs of each task, of which 32 are a good start.

    ``model`` is the merged model, with or without its residuals as adapters of PEFT. ``inputs`` are by task what its
    tokenizer or image processor gives for a few inputs. ``layer`` is the hidden state that tells tasks apart, by
    default the one half-way up. Inputs that are held out of a fit decide how sure the router is.

    Raises:
        DataError: there are fewer than two tasks, a task has no input, inputs are not what a tokenizer gives, or the
            model gives no hidden states.
        NumericalError: the model's hidden states hold NaN or Inf.
    """
    return fitted(model, {task: [batch] for task, batch in inputs.items()}, layer)


def fitted(model: nn.Module, inputs: Mapping[str, Iterable[Mapping[str, Tensor]]], layer: int | None) -> Router:
    """The same of several batches per task."""
    if len(inputs) < 2:
        raise DataError(f"a router chooses among two tasks or more, got {len(inputs)}")
    place = middle_of(model) if layer is None else layer
    groups = []
    for task, batches in inputs.items():
        features = [task_features(model, batch, place) for batch in batches if inputs_in(batch)]
        if not features:
            raise DataError(f"{task}: there are no inputs")
        groups.append(torch.cat(features))
        if not bool(groups[-1].isfinite().all()):
            raise NumericalError(f"{task}: the hidden states of the merged model hold NaN or Inf")
    weight, bias = discriminant(groups)
    divisor, right = confidence(groups)
    return Router(tuple(inputs), place, (weight / divisor).float(), (bias / divisor).float(), right)
