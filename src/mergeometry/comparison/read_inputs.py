"""Reads what models are scored and run on: labelled inputs and heads by split, each model's unlabelled inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mergeometry.comparison.entries import Entry
from mergeometry.comparison.gathered import gathered
from mergeometry.comparison.harness_tasks import HarnessData, read_harness
from mergeometry.comparison.scored_kind import scored_kind
from mergeometry.comparison.scorer import LabelledTask
from mergeometry.comparison.tasks_file import LabelledSource, ScoredTask, TasksFile
from mergeometry.encoders.heads import Head, read_head, width_of
from mergeometry.errors import RecipeError
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.inputs.labels import LabelledData, read_labelled
from mergeometry.recipe import ModelEntry, Recipe
from mergeometry.recipe.data import FISHER, DataSection, ModelData
from mergeometry.recipe.inputs import AdaptTask, DataSource
from mergeometry.sources import Checkpoint

VALIDATION, TEST = "validation", "test"
_WHAT_FOR = {VALIDATION: "choose scales on", TEST: "report on"}


def read_splits(
    tasks: TasksFile, base: Checkpoint, wanted: Mapping[str, Collection[str]]
) -> tuple[dict[str, dict[str, LabelledTask]], list[str], list[str]]:
    """Read heads and inputs of the wanted tasks in each split; return them with all problems and notes."""
    problems: list[str] = []
    notes: list[str] = []
    kind = ""
    with gathered(problems):
        kind = scored_kind(tasks.encoder, base)
    splits: dict[str, dict[str, LabelledTask]] = {split: {} for split in wanted}
    for task in tasks.tasks if kind else ():
        head = None
        with gathered(problems, task.name):
            head = _head(task, kind, base)
            for split, names in wanted.items():
                if task.name not in names:
                    continue
                source = task.validation if split == VALIDATION else task.test
                if source is None:
                    problems.append(f"task {task.name!r}: it has no `{split}:` inputs to {_WHAT_FOR[split]}")
                    continue
                data = _data(task, source, kind, head, base)
                notes += [f"{task.name}, {split}: {note}" for note in data.notes]
                splits[split][task.name] = LabelledTask(data, head)
    if len({isinstance(one.data, HarnessData) for tasks in splits.values() for one in tasks.values()}) > 1:
        problems.append("some inputs are tasks of lm_eval and others are texts, whose scores cannot be added")
    return splits, problems, notes


def read_data_of(
    section: DataSection, models: Sequence[ModelEntry], base: Checkpoint
) -> tuple[dict[str, UnlabelledData], list[str]]:
    """Read the inputs that the models are run on; return them with all problems."""
    inputs: dict[str, UnlabelledData] = {}
    problems: list[str] = []
    for name in [model.name for model in models if model.name not in section.ready_made]:
        with gathered(problems, name):
            kind = "images" if scored_kind(section.encoder, base) == "image" else "texts"
            inputs[name] = read_unlabelled(AdaptTask(name=name, data=section.source(name)), kind)
    return inputs, problems


def data_for(entry: Entry, common: Recipe, tasks: TasksFile) -> DataSection | None:
    """The `data:` section of an entry that needs one: the tasks' unlabelled inputs, or else the recipe's own section.

    Raises:
        RecipeError: a model has none.
    """
    by = entry.merges_by(common)
    if not by:
        return None
    models = [model.name for model in common.models]
    sources = {task.name: task.unlabelled for task in tasks.tasks if task.unlabelled is not None}
    if not sources and common.data is not None:
        section = common.data.of(models)
        return section if section is None or FISHER in by else section.inputs_alone
    without = [name for name in models if name not in sources]
    if without:
        raise RecipeError(
            f"{entry.method['name']} merges by {' and '.join(sorted(by))}, and the tasks have no `unlabelled:` inputs "
            f"for {', '.join(map(repr, without))}"
        )
    heads = {task.name: task.head for task in tasks.tasks} if FISHER in by else {}
    keys = DataSource.model_fields
    unlabelled = {
        name: ModelData(**{key: getattr(sources[name], key) for key in keys}, head=heads.get(name)) for name in models
    }
    return DataSection(tasks=unlabelled, encoder=tasks.encoder)


def _head(task: ScoredTask, kind: str, base: Checkpoint) -> Head | None:
    if kind == "causal":
        if task.head is not None or task.classes is not None:
            raise RecipeError("a language model is scored by perplexity, without head and classes")
        return None
    if task.head is None:
        raise RecipeError("it has no `head:`, a safetensors file with the weight and bias of its classes")
    head = read_head(task.head, task.name, width_of(base.config))
    rows = head.weight.shape[0]
    if task.classes is not None and len(task.classes) != rows:
        raise RecipeError(f"it names {len(task.classes)} classes, and its head has {rows}")
    return head


def _data(
    task: ScoredTask, source: LabelledSource, kind: str, head: Head | None, base: Checkpoint
) -> LabelledData | UnlabelledData | HarnessData:
    if source.lm_eval is not None:
        return read_harness(source, kind, base.path)
    if head is None:
        return read_unlabelled(AdaptTask(name=task.name, data=source), "texts")
    inputs = "images" if kind == "image" else "texts"
    return read_labelled(source, source.label, inputs, task.name, head.weight.shape[0], task.classes)
