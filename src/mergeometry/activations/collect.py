"""Runs each task's own model on the task's unlabelled inputs, and stores the moments of its layers' inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeometry.activations.layers import (
    Layer,
    Watch,
    in_groups,
    merged_by_activations,
    moment_of,
    zeros_for,
)
from mergeometry.encoders import Encoder
from mergeometry.encoders.base import Inputs
from mergeometry.encoders.seq2seq import Seq2SeqEncoder
from mergeometry.encoders.sites import Site, expert_weights, sites_of
from mergeometry.errors import DataError, NumericalError
from mergeometry.execution.moments import StoredMoments
from mergeometry.execution.threads import one_thread
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.plan import Plan
from mergeometry.sink import safetensors_bytes
from mergeometry.sources import TensorInfo, read_header

MOMENTS_BYTES = 1 << 30
"""Bytes of moments held in memory at a time; a model that has more is run again for each further group of layers."""

_KEY = "moment"


@dataclass(frozen=True, slots=True)
class Moments:
    """Stored moments by the tensor's name on disk, and by task the most rows that one moment is taken over."""

    stored: Mapping[str, StoredMoments]
    rows: Mapping[str, int]


def collect(
    plan: Plan, encoder: Encoder, data: Sequence[UnlabelledData], folder: Path, budget: int = MOMENTS_BYTES
) -> Moments:
    """Store the moments of every layer that the plan merges by activations; ``data`` is in the order of the models.

    A layer that no model runs has no moments. Where only some models run it, the others' moments are zero. No input
    is padded, so every row counts.

    Raises:
        DataError: the model runs none of the layers, or the data do not fit it.
        NumericalError: a model's activations are not finite.
        OSError: the folder cannot be written to.
    """
    found = gathered(plan, encoder, data, folder, budget, sites_of(plan, encoder), {})
    refuse_none(found)
    return found


def refuse_none(moments: Moments) -> None:
    """Check that some layer was run.

    Raises:
        DataError: none was.
    """
    if not moments.stored:
        raise DataError(
            "the model runs none of the matrices that are merged by activations",
            hint="check the model's kind: encoder: {kind: text | image | causal | seq2seq}",
        )


def gathered(
    plan: Plan,
    encoder: Encoder,
    data: Sequence[UnlabelledData],
    folder: Path,
    budget: int,
    sites: Sequence[Site],
    merged: Mapping[str, Tensor],
) -> Moments:
    """The same for the tasks of a plan and their sites; ``merged`` are further weights, which all models share."""
    passes = [
        run_model(plan, encoder, place, model_data, folder, budget, sites, merged)
        for place, model_data in enumerate(data)
    ]
    return joined([model.label for model in plan.models], passes, folder)


@dataclass(frozen=True, slots=True)
class Passed:
    """What one model's inputs gave: for each layer its stored moment, or None where it was not run; and the rows."""

    layers: tuple[Layer, ...]
    infos: tuple[TensorInfo | None, ...]
    rows: int


def run_model(
    plan: Plan,
    encoder: Encoder,
    place: int,
    data: UnlabelledData,
    folder: Path,
    budget: int,
    sites: Sequence[Site],
    merged: Mapping[str, Tensor],
) -> Passed:
    """Run one model on its inputs, and store the moments of its layers' inputs.

    Raises:
        DataError: the data do not fit the model.
        NumericalError: the model's activations are not finite.
        OSError: the folder cannot be written to.
    """
    label, layers = plan.models[place].label, layers_of(plan, encoder)
    infos: list[TensorInfo | None] = []
    rows = 0
    with one_thread(), torch.inference_mode():
        try:
            inputs = encoder.prepare(data)
        except DataError as error:
            error.model = error.model or label
            raise
        weights = dict(expert_weights(plan, place, encoder, sites)) | dict(merged)
        if isinstance(encoder, Seq2SeqEncoder):
            inputs = encoder.continue_with(encoder.module, weights, inputs)
        for group in in_groups(layers, budget):
            watch = watched(encoder, weights, inputs, group)
            rows = max(rows, *watch.rows.values(), 0)
            for layer in group:
                file = folder / f"{place}-{len(infos)}.safetensors"
                infos.append(_stored(file, layer, watch, label))
    return Passed(tuple(layers), tuple(infos), rows)


def joined(labels: Sequence[str], passes: Sequence[Passed], folder: Path) -> Moments:
    """The moments of all models; a model that does not run a layer has zeros, where another runs it.

    Raises:
        OSError: the folder cannot be written to.
    """
    complete = {}
    for number, layer in enumerate(passes[0].layers):
        each = [passed.infos[number] for passed in passes]
        stored = [info for info in each if info is not None]
        if not stored:
            continue
        if len(stored) < len(each):
            zero = _written(folder / f"no-{number}.safetensors", zeros_for(layer))
            stored = [info or zero for info in each]
        complete[layer.name] = StoredMoments(tuple(stored))
    return Moments(complete, {label: passed.rows for label, passed in zip(labels, passes, strict=True)})


def layers_of(plan: Plan, encoder: Encoder) -> list[Layer]:
    """The layers that are merged by activations and that the model has a parameter for."""
    layers = []
    for task in merged_by_activations(plan):
        parameter = encoder.names.get(task.name)
        if parameter is not None and parameter.endswith(".weight"):
            layers.append(Layer(task.name, parameter, task.shape[1]))
    return layers


def watched(encoder: Encoder, weights: Mapping[str, Tensor], inputs: Inputs, layers: Sequence[Layer]) -> Watch:
    """Run one task's inputs through the model under given weights, and sum over what reaches some of its layers."""
    with Watch(encoder.module, layers) as watch:
        for items in unpadded(inputs, encoder.budget, alone=isinstance(encoder, Seq2SeqEncoder)):
            encoder.features(encoder.module, weights, encoder.batch(items))
    return watch


def unpadded(inputs: Inputs, budget: int, *, alone: bool) -> Iterator[list[Any]]:
    """Batches of inputs of equal size, which need no padding; with ``alone``, one input per batch."""
    order = sorted(range(len(inputs)), key=lambda row: (inputs.sizes[row], row))
    batch: list[int] = []
    for row in order:
        size = inputs.sizes[row]
        if batch and (alone or inputs.sizes[batch[0]] != size or size * (len(batch) + 1) > budget):
            yield [inputs.items[index] for index in batch]
            batch = []
        batch.append(row)
    if batch:
        yield [inputs.items[index] for index in batch]


def _stored(file: Path, layer: Layer, watch: Watch, label: str) -> TensorInfo | None:
    if layer.name not in watch.totals:
        return None
    moment = moment_of(watch.totals.pop(layer.name), watch.rows[layer.name])
    if not bool(torch.isfinite(moment.sum())):
        raise NumericalError("activations are not finite", model=label, tensor=layer.name)
    return _written(file, moment)


def _written(file: Path, moment: Tensor) -> TensorInfo:
    file.write_bytes(safetensors_bytes({_KEY: moment}))
    return read_header(file).tensors[_KEY]
