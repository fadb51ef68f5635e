"""Fits a router to a merged model on disk and a file of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from mergeometry.comparison.tasks_file import TasksFile
from mergeometry.encoders import Encoder, Inputs, build_encoder
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.errors import DataError, MismatchError
from mergeometry.execution.devices import chosen_device
from mergeometry.execution.threads import one_thread
from mergeometry.inputs import read_unlabelled
from mergeometry.recipe.inputs import AdaptTask
from mergeometry.routing.choices import Choices, choices_in
from mergeometry.routing.fit import fitted
from mergeometry.routing.router import Router
from mergeometry.sources import open_checkpoint

_TOGETHER = 16


def router_of(
    merged: Path, tasks: TasksFile, *, limit: int = 32, layer: int | None = None, device: str = "cpu"
) -> tuple[Router, Choices]:
    """Fit a router to the `unlabelled` inputs of a file of tasks, at most ``limit`` of each, by the model in a folder.

    With it comes what the folder has for it to choose among.

    Raises:
        MismatchError: a task is no model of the merge, or has no unlabelled inputs; it lists every reason.
        DataError: inputs are missing or malformed, the model cannot be run, or the merge has nothing to choose among.
        SourceError: there is no model, or a file cannot be opened.
    """
    checkpoint = open_checkpoint(merged, "the merged model")
    wrong = [f"{task.name}: it has no `unlabelled` inputs" for task in tasks.tasks if task.unlabelled is None]
    choices = choices_in(merged)
    wrong += choices.problems([task.name for task in tasks.tasks])
    if wrong:
        raise MismatchError("the tasks are not usable", wrong, hint="no weight was read")
    kind = runnable_kind(checkpoint, tasks.encoder)
    if kind == "seq2seq":
        raise DataError(
            "an encoder-decoder model's router is not fitted from files", file=merged,
            hint="fit it in Python, to what the tokenizer gives: mergeometry.fit_router(model, inputs)",
        )  # fmt: skip
    data = {}
    for task in tasks.tasks:
        assert task.unlabelled is not None
        source = task.unlabelled if task.unlabelled.limit else task.unlabelled.model_copy(update={"limit": limit})
        data[task.name] = read_unlabelled(
            AdaptTask(name=task.name, data=source), "images" if kind == "image" else "texts"
        )
    with one_thread():
        encoder = build_encoder(checkpoint, tasks.encoder, chosen_device(device))
        inputs = {name: _batches(encoder, encoder.prepare(own)) for name, own in data.items()}
        return fitted(encoder.module, inputs, layer), choices


def _batches(encoder: Encoder, inputs: Inputs) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(inputs), _TOGETHER):
        yield dict(encoder.batch(inputs.items[start : start + _TOGETHER]).arguments)
