"""Everything that a comparison needs, checked for consistency before a weight is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mergeometry.comparison.entries import Entry
from mergeometry.comparison.read_inputs import TEST, VALIDATION, data_for, read_data_of, read_splits
from mergeometry.comparison.scorer import LabelledTask
from mergeometry.comparison.tasks_file import TasksFile
from mergeometry.encoders.heads import Head
from mergeometry.encoders.pooling import POOLED_NOTE, with_pooling
from mergeometry.errors import MergeometryError, MismatchError, RecipeError
from mergeometry.execution.devices import chosen_device
from mergeometry.execution.directions_folder import DirectionsFolder
from mergeometry.inputs import UnlabelledData
from mergeometry.plan import Plan, make_plan
from mergeometry.plan.opening import open_base
from mergeometry.recipe import Recipe
from mergeometry.words import nearest


@dataclass(frozen=True)
class Setup:
    """What is compared: entries with their plans at scale 1, and tasks with their inputs in memory."""

    recipe: Recipe
    """The common recipe, without the models that are left out."""
    tasks: TasksFile
    entries: tuple[Entry, ...]
    plans: tuple[Plan, ...]
    seen: tuple[str, ...]
    """Tasks whose model is merged."""
    unseen: tuple[str, ...]
    splits: Mapping[str, Mapping[str, LabelledTask]]
    notes: tuple[str, ...]
    unlabelled: Mapping[str, UnlabelledData] = field(default_factory=dict)
    """The inputs that each model is run on before merges by activations, in the models' order; else empty."""
    device: str = "cpu"
    """Where tensors are merged and models are run."""
    directions: DirectionsFolder | None = None
    """Where decompositions may be known, and are kept."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Split to task to number of inputs."""
        return {
            split: {name: len(task.data.items) for name, task in tasks.items()} for split, tasks in self.splits.items()
        }

    @property
    def digest(self) -> str:
        """What a score depends on beyond the weights: the tasks' inputs, labels and heads, and the encoder."""
        parts = [
            [split, task, one.data.digest, None if one.head is None else _digest(one.head)]
            for split, tasks in self.splits.items()
            for task, one in tasks.items()
        ]
        return hashlib.sha256(json.dumps([parts, self.tasks.encoder.model_dump()]).encode()).hexdigest()


def set_up(
    recipe: Recipe,
    entries: Sequence[Entry],
    tasks: TasksFile,
    leave_out: Collection[str],
    *,
    everything: bool,
    device: str = "cpu",
    directions: DirectionsFolder | None = None,
) -> Setup:
    """Match recipe, entries and tasks, plan every merge, and read heads and inputs.

    Models named in ``leave_out`` are not merged, so their tasks are unseen. With ``everything``, entries that do not
    fit these models are left out with a note instead of being refused. ``device`` is cpu, cuda, cuda:1, or auto: a GPU
    where there is one.

    Raises:
        RecipeError: the recipe has an `adapt:` section or a stack for a base, nothing is left to merge, or there is
            no such device.
        MismatchError: methods, tasks, heads and inputs do not fit together; it lists every reason.
        OutputError: the folder of ``directions`` cannot be used.
    """
    chosen = str(chosen_device(device))
    if recipe.adapt is not None:
        raise RecipeError(
            "the recipe has an `adapt:` section, and comparisons merge without learning",
            hint="remove the section; `mergeometry evaluate` scores the output of a merge with it",
        )
    if not isinstance(recipe.base, str):
        raise RecipeError(
            "the base is a stack of layers, and a comparison runs models from the base's folder",
            hint="write the stack first, with `method: passthrough`, and give its output as the base",
        )
    problems, notes = [], []
    names = [entry.name for entry in recipe.models]
    problems += [
        f"--leave-out: no model is named {one!r}{nearest(one, names)}" for one in leave_out if one not in names
    ]
    problems += list(unknown_tasks(tasks, names, leave_out))
    models = tuple(entry for entry in recipe.models if entry.name not in leave_out)
    unscored = [entry.name for entry in models if entry.name not in {task.name for task in tasks.tasks}]
    if unscored:
        notes.append(f"merged but not scored, since no task has this name: {', '.join(unscored)}")
    if not models:
        raise RecipeError("no model is left to merge", hint="leave out fewer models")
    common = recipe.model_copy(update={"models": models})
    planned, refused, left_out = _plans(common, entries, tasks, everything=everything)
    problems, notes = problems + refused, notes + left_out
    seen = tuple(task.name for task in tasks.tasks if not task.unseen and task.name not in leave_out)
    if not seen and not problems:
        problems.append("every task is unseen, but scales are chosen on the validation inputs of seen tasks")
    base = open_base(recipe, make_plan)
    merged = planned[0][1].models if planned else ()
    encoder = with_pooling(tasks.encoder, merged, [task.head for task in tasks.tasks])
    if encoder != tasks.encoder:
        notes.append(POOLED_NOTE)
        tasks = tasks.model_copy(update={"encoder": encoder})
    splits, wrong, input_notes = read_splits(tasks, base, {VALIDATION: seen, TEST: [task.name for task in tasks.tasks]})
    problems += wrong
    unlabelled: dict[str, UnlabelledData] = {}
    for section in [plan.recipe.data for _, plan in planned if plan.recipe.data is not None][:1]:
        unlabelled, wrong = read_data_of(section, models, base)
        problems += wrong
        notes += [f"{name}, unlabelled: {note}" for name, data in unlabelled.items() for note in data.notes]
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise MismatchError(f"the comparison is not usable ({count})", problems, hint="no weight was read")
    if directions is not None:
        directions.check(planned[0][1].inputs)
    return Setup(
        common, tasks, tuple(entry for entry, _ in planned), tuple(plan for _, plan in planned), seen,
        tuple(task.name for task in tasks.tasks if task.name not in seen), splits, (*notes, *input_notes),
        unlabelled, device=chosen, directions=directions,
    )  # fmt: skip


def unknown_tasks(tasks: TasksFile, models: Sequence[str], leave_out: Collection[str] = ()) -> Iterator[str]:
    """A reason for every task that belongs to no model that is merged, and is not `unseen`."""
    for place, task in enumerate(tasks.tasks):
        where = f"tasks.{place}.name"
        if task.unseen and task.name in models and task.name not in leave_out:
            yield f"{where}: {task.name!r} is unseen, but a model of this name is merged; --leave-out {task.name}"
        if not task.unseen and task.name not in models:
            guess = nearest(task.name, list(models))
            yield f"{where}: no model is named {task.name!r}{guess} (or is it `unseen: true`?)"


def _plans(
    common: Recipe, entries: Sequence[Entry], tasks: TasksFile, *, everything: bool
) -> tuple[list[tuple[Entry, Plan]], list[str], list[str]]:
    planned, problems, notes = [], [], []
    for entry in entries:
        try:
            planned.append((entry, make_plan(entry.recipe(common, 1.0, data_for(entry, common, tasks)))))
        except MergeometryError as error:
            reasons = error.mismatches if isinstance(error, MismatchError) else (error.what,)
            if everything and not _concerns_inputs(error):
                notes.append(f"{entry.name} is left out: {reasons[0]}")
            else:
                problems += [f"{entry.name}: {reason}" for reason in reasons]
    if not planned and not problems:
        problems.append("none of the methods fits these models")
    # A problem of the inputs is the same for every method.
    return planned, list(dict.fromkeys(_once(problems, [entry.name for entry in entries]))), notes


def _concerns_inputs(error: MergeometryError) -> bool:
    return not isinstance(error, RecipeError) and "method" not in error.what


def _once(problems: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Problems, with those that all entries share listed once, without an entry's name."""
    reasons = {name: [p.removeprefix(f"{name}: ") for p in problems if p.startswith(f"{name}: ")] for name in names}
    common = [reason for reason in reasons[names[0]] if all(reason in reasons[name] for name in names)] if names else []
    yield from common
    for problem in problems:
        if not any(problem == f"{name}: {reason}" for name in names for reason in common):
            yield problem


def _digest(head: Head) -> str:
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in (head.weight, head.bias))).hexdigest()
