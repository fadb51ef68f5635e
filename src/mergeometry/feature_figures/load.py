"""Reads the inputs and heads of all tasks, and gathers everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.comparison.gathered import gathered
from mergeometry.encoders.heads import Head, read_head, width_of
from mergeometry.encoders.pooling import POOLED_NOTE, with_pooling
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.errors import MismatchError, RecipeError
from mergeometry.feature_figures.tasks_file import FigureTask, FigureTasks
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.inputs.labels import LabelledData, read_labelled
from mergeometry.plan.plan import Plan
from mergeometry.recipe.inputs import AdaptTask, EncoderOptions
from mergeometry.words import nearest


@dataclass(frozen=True, slots=True, eq=False)
class TaskInputs:
    """One task in memory; ``model`` is the place of its expert among the plan's models."""

    name: str
    model: int
    source: str
    data: LabelledData | UnlabelledData
    head: Head | None

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The inputs' classes, where they have labels."""
        return self.data.labels if isinstance(self.data, LabelledData) else None


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """All tasks, how inputs become features, and what to say about them."""

    tasks: tuple[TaskInputs, ...]
    encoder: EncoderOptions
    kind: str
    notes: tuple[str, ...]


def load(plan: Plan, tasks: FigureTasks, labels: Sequence[str], limit: int) -> Loaded:
    """Read the inputs and heads of the models that ``labels`` names, the first of the plan's.

    Raises:
        MismatchError: tasks, heads or inputs do not fit the models; it lists every reason.
        DataError: models of this kind cannot be run.
    """
    kind = runnable_kind(plan.base, tasks.encoder)
    problems: list[str] = []
    notes: list[str] = []
    loaded: list[TaskInputs] = []
    for task in tasks.tasks:
        if task.unseen:
            notes.append(f"{task.name}: it has no expert to compare with")
        elif task.name not in labels:
            problems.append(f"task {task.name!r}: no model has this name{nearest(task.name, list(labels))}")
        else:
            with gathered(problems, task.name):
                loaded.append(_task(task, labels.index(task.name), kind, width_of(plan.base.config), limit))
    if not problems and not loaded:
        problems.append("no task belongs to a model")
    if problems:
        raise MismatchError("the inputs are not usable", problems, hint="no model was run")
    heads = [task.head for task in tasks.tasks]
    encoder = with_pooling(tasks.encoder, plan.models, heads)
    notes += [POOLED_NOTE] if encoder != tasks.encoder else []
    notes += [f"{task.name}: {note}" for task in loaded for note in task.data.notes]
    without = [label for label in labels if label not in {task.name for task in tasks.tasks}]
    if without:
        notes.append(f"not run, since no task has this name: {', '.join(without)}")
    headless = [task.name for task in loaded if task.head is None] if kind in ("text", "image") else []
    if headless:
        notes.append(
            f"without a head there is no prediction, and features alone are compared: {', '.join(headless)} "
            "(head: FILE names one)"
        )
    return Loaded(tuple(loaded), encoder, kind, tuple(notes))


def _task(task: FigureTask, model: int, kind: str, width: int | None, limit: int) -> TaskInputs:
    key, source = task.source(limit)
    inputs = "images" if kind == "image" else "texts"
    head = None
    if kind in ("causal", "seq2seq"):
        if task.head is not None or task.classes is not None:
            raise RecipeError("a language model predicts tokens by its own output layer, without head and classes")
    elif task.head is not None:
        head = read_head(task.head, task.name, width)
        rows = head.weight.shape[0]
        if task.classes is not None and len(task.classes) != rows:
            raise RecipeError(f"it names {len(task.classes)} classes, and its head has {rows}")
        if task.labelled:
            data = read_labelled(source, source.label, inputs, task.name, rows, task.classes)
            return TaskInputs(task.name, model, key, data, head)
    return TaskInputs(task.name, model, key, read_unlabelled(AdaptTask(name=task.name, data=source), inputs), head)
