"""Runs the base, every expert and the merged model on the same inputs, one model in memory at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mergeometry.encoders import Encoder, Inputs, build_encoder
from mergeometry.encoders.heads import Head, read_head
from mergeometry.encoders.language import OUTPUT, LanguageModel
from mergeometry.encoders.seq2seq import Seq2SeqEncoder
from mergeometry.encoders.sites import expert_weights, sites_of
from mergeometry.errors import DataError
from mergeometry.execution.head_files import safe_name
from mergeometry.execution.threads import one_thread
from mergeometry.execution.workers import MemoryLimit, limit_in_bytes
from mergeometry.feature_figures.answers import COMPARED, Answers, answers
from mergeometry.feature_figures.estimate import check_memory, estimate
from mergeometry.feature_figures.figures import against_expert, of_expert
from mergeometry.feature_figures.load import Loaded, TaskInputs, load
from mergeometry.feature_figures.tasks_file import FigureTasks
from mergeometry.inputs.unlabelled import naming
from mergeometry.inspection.after import plan_of_merge, recipe_of_merge
from mergeometry.inspection.on_inputs import ModelOnInputs, OnInputs, TaskOnInputs
from mergeometry.plan.plan import Plan
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.recipe.inputs import HeadSource
from mergeometry.sources import Checkpoint, TensorReader

LIMIT = 256
"""Inputs per task, unless another number is asked for."""

Progress = Callable[[str, float, float, str], None]
"""Called with the model and the task that run, the inputs done and of all, and a count such as 64/256."""


def figures_of_merge(
    output: Path,
    tasks: FigureTasks,
    *,
    limit: int = LIMIT,
    memory_limit: MemoryLimit = None,
    progress: Progress | None = None,
) -> OnInputs:
    """Run base, experts and merged model of the merge in a folder, all of which must still be there.

    Raises:
        MergeometryError: a model is gone, cannot be run, or does not fit the tasks, with every reason.
    """
    heads = _rotated_heads(output, recipe_of_merge(output))
    return _figures(plan_of_merge(output), tasks, True, heads, limit, memory_limit, progress)


def figures_before_merge(
    plan: Plan,
    tasks: FigureTasks,
    *,
    limit: int = LIMIT,
    memory_limit: MemoryLimit = None,
    progress: Progress | None = None,
) -> OnInputs:
    """Run base and experts of a plan: what each expert changed on its own inputs.

    Raises:
        MergeometryError: a model cannot be run, or does not fit the tasks, with every reason.
    """
    return _figures(plan, tasks, False, None, limit, memory_limit, progress)


def _figures(
    plan: Plan,
    tasks: FigureTasks,
    merged: bool,
    heads: Callable[[str], Head | None] | None,
    limit: int,
    memory_limit: MemoryLimit,
    progress: Progress | None,
) -> OnInputs:
    started = time.perf_counter()
    labels = [model.label for model in plan.models][: len(plan.models) - merged]
    loaded = load(plan, tasks, labels, limit)
    check_memory(estimate(plan, loaded, merged=merged), limit_in_bytes(memory_limit))
    encoder = build_encoder(plan.base, loaded.encoder, torch.device("cpu"))
    with one_thread(), torch.inference_mode():
        runner = _Runner(plan, encoder, loaded, merged, progress)
        experts = [runner.expert(place) for place in range(len(loaded.tasks))]
        after = [runner.merged(place, experts[place], heads) for place in range(len(loaded.tasks))] if merged else None
        runner.let_go()
        base = [runner.base(place, experts[place]) for place in range(len(loaded.tasks))]
    measured = tuple(
        _task(encoder, task, runner.inputs[place], experts[place], base[place], after[place] if after else None)
        for place, task in enumerate(loaded.tasks)
    )
    return OnInputs(limit, measured, loaded.notes, time.perf_counter() - started)


class _Runner:
    """Loads the weights of one model at a time, and runs it on the inputs of one task or of all."""

    def __init__(self, plan: Plan, encoder: Encoder, loaded: Loaded, merged: bool, progress: Progress | None) -> None:
        self._plan, self._encoder, self._tasks, self._progress = plan, encoder, loaded.tasks, progress
        self._sites = sites_of(plan, encoder)
        self.inputs = [_prepared(encoder, task) for task in loaded.tasks]
        self._total = sum(map(len, self.inputs)) * (2 + merged)
        self._done = 0
        self._merged: dict[str, Tensor] | None = None

    def expert(self, place: int) -> Answers:
        """The answers of a task's expert."""
        task = self._tasks[place]
        weights = dict(expert_weights(self._plan, task.model, self._encoder, self._sites))
        inputs = self.inputs[place]
        if isinstance(self._encoder, Seq2SeqEncoder):
            # All models predict the targets that the expert writes.
            inputs = self.inputs[place] = self._encoder.continue_with(self._encoder.module, weights, inputs)
        return self._run(place, task.name, weights, task.head)

    def merged(self, place: int, expert: Answers, heads: Callable[[str], Head | None] | None) -> ModelOnInputs:
        """The figures of the merged model, which is the last of the plan's."""
        if self._merged is None:
            last = len(self._plan.models) - 1
            self._merged = dict(expert_weights(self._plan, last, self._encoder, self._sites))
            self._merged |= _untied_output(self._plan, self._encoder)
        task = self._tasks[place]
        head = (heads(task.name) if heads is not None and task.head is not None else None) or task.head
        own = self._run(place, "merged model", self._merged, head)
        return against_expert(task, self.inputs[place], own, expert)

    def base(self, place: int, expert: Answers) -> ModelOnInputs:
        """The figures of the base."""
        task = self._tasks[place]
        return against_expert(task, self.inputs[place], self._run(place, "base", {}, task.head), expert)

    def let_go(self) -> None:
        """Free the weights of the merged model."""
        self._merged = None

    def _run(self, place: int, model: str, weights: Mapping[str, Tensor], head: Head | None) -> Answers:
        task, inputs = self._tasks[place], self.inputs[place]

        def advance(done: int) -> None:
            if self._progress is not None:
                self._progress(f"{model} on {task.name}", self._done + done, self._total, f"{done}/{len(inputs)}")

        with naming(task.name):
            own = answers(self._encoder, weights, inputs, head, task.labels, advance)
        self._done += len(inputs)
        return own


def _prepared(encoder: Encoder, task: TaskInputs) -> Inputs:
    with naming(task.name):
        inputs = encoder.prepare(task.data)
        if task.labels is not None and len(task.labels) != len(inputs):
            raise DataError(f"{len(task.labels) - len(inputs):,} texts have no tokens", hint="leave them out")
        if task.head is not None and task.head.weight.shape[1] != encoder.width:
            taken = task.head.weight.shape[1]
            raise DataError(f"the head takes {taken:,} features, and the encoder gives {encoder.width:,}")
    return inputs


def _task(
    encoder: Encoder,
    task: TaskInputs,
    inputs: Inputs,
    expert: Answers,
    base: ModelOnInputs,
    merged: ModelOnInputs | None,
) -> TaskOnInputs:
    rows = sum(inputs.rows)
    kind = "tokens" if encoder.language_model else "features" if task.head is None else "classes"
    return TaskOnInputs(
        name=task.name,
        source=task.source,
        kind=kind,
        inputs=len(inputs),
        rows=rows,
        compared=min(rows, COMPARED),
        classes=None if task.head is None else task.head.weight.shape[0],
        grouped_by=None if task.head is None else "predictions" if task.labels is None else "labels",
        expert=of_expert(task, expert),
        base=base,
        merged=merged,
    )


def _rotated_heads(output: Path, recipe: Mapping[str, object]) -> Callable[[str], Head | None] | None:
    """Reads the heads that a learned merge wrote with its rotations folded in; None where it rotated nothing."""
    section = recipe.get("adapt")
    if not section or AdaptSection.model_validate(section).resolved_rotation == "none":
        return None

    def read(name: str) -> Head | None:
        place = output / "heads" / f"{safe_name(name)}.safetensors"
        return read_head(HeadSource(path=str(place)), name, None) if place.is_file() else None

    return read


def _untied_output(plan: Plan, encoder: Encoder) -> dict[str, Tensor]:
    """The output layer of a merged language model that has one of its own where the base's is its embedding."""
    model = plan.models[-1]
    if not isinstance(encoder, LanguageModel) or encoder.tied is None or not isinstance(model, Checkpoint):
        return {}
    info = model.tensors.get(encoder.layer_name)
    if info is None or encoder.layer_name in plan.base.tensors:
        return {}
    with TensorReader() as reader:
        return {OUTPUT: reader.read(info).float()}
