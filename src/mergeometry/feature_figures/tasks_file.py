"""Which inputs and heads the figures are measured on: a file of tasks, or those of a recipe's own sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from mergeometry.comparison.tasks_file import LabelledSource, Source, TasksFile
from mergeometry.errors import RecipeError, listed
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.recipe.data import DataSection
from mergeometry.recipe.files import resolved, text_of
from mergeometry.recipe.inputs import EncoderOptions, HeadSource, Text, as_path
from mergeometry.recipe.strict import StrictModel, explain
from mergeometry.recipe.yaml import parse_yaml

OF_THE_RECIPE = "recipe"
"""In place of a file: the inputs that the merge itself learned on, or was made by."""
_SOURCES = ("data", "validation", "test", "unlabelled")
"""The first of these that a task has is used: test inputs are for the figures that are reported in the end."""


class FigureTask(StrictModel):
    """One task: its model's name, its inputs, and the head that classifies them, where there is one.

    A task of `mergeometry compare` will do. Labels are optional: those of `data` and `unlabelled` are read where
    `label` names their column.
    """

    name: Text
    head: Annotated[HeadSource, BeforeValidator(as_path)] | None = None
    classes: tuple[Text, ...] | None = None
    data: Source | None = None
    unlabelled: Source | None = None
    validation: Source | None = None
    test: Source | None = None
    unseen: bool = False

    @model_validator(mode="after")
    def _has_inputs(self) -> FigureTask:
        if all(getattr(self, key) is None for key in _SOURCES):
            raise ValueError("it has no inputs: give `data`, `validation`, `test` or `unlabelled`")
        return self

    def source(self, limit: int) -> tuple[str, LabelledSource]:
        """Which of its inputs are used, at most ``limit`` of them."""
        key = next(key for key in _SOURCES if getattr(self, key) is not None)
        source: LabelledSource = getattr(self, key)
        return key, source.model_copy(update={"limit": min(limit, source.limit or limit)})

    @property
    def labelled(self) -> bool:
        """Whether the inputs that are used have labels."""
        key, source = self.source(1)
        return source.label is not None or key in ("validation", "test")


class FigureTasks(StrictModel):
    """All tasks, and the encoder that they share."""

    tasks: Annotated[tuple[FigureTask, ...], Field(min_length=1)]
    encoder: EncoderOptions = EncoderOptions()

    @model_validator(mode="after")
    def _named_once(self) -> FigureTasks:
        names = [task.name for task in self.tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tasks are named {twice!r}")
        return self


Given: TypeAlias = str | Path | Mapping[str, Any] | TasksFile | FigureTasks


def load_figure_tasks(given: Given, recipe: Mapping[str, Any] | None = None) -> FigureTasks:
    """Read tasks from a YAML file or a mapping, or with "recipe" from the ``recipe`` of the models.

    Paths in a file are relative to its folder.

    Raises:
        RecipeError: the file cannot be read, a key is unknown, a value is invalid, or the recipe has no inputs.
    """
    if isinstance(given, FigureTasks):
        return given
    if isinstance(given, TasksFile):
        return _validated(given.model_dump(exclude_none=True), None)
    if isinstance(given, Mapping):
        return _validated(given, None)
    if given == OF_THE_RECIPE:
        return _of_recipe(recipe or {})
    path = Path(given)
    read = parse_yaml(text_of(path, "the file of tasks"), path)
    if not isinstance(read, dict):
        raise RecipeError("tasks are a mapping of keys to values", file=path, hint="see docs/reading-the-report.md")
    tasks = _validated(read, path)
    return tasks.model_copy(update={"tasks": tuple(_placed(task, path.parent) for task in tasks.tasks)})


def _of_recipe(recipe: Mapping[str, Any]) -> FigureTasks:
    tasks = list[dict[str, Any]]()
    encoder = EncoderOptions()
    if recipe.get("adapt"):
        learning = AdaptSection.model_validate(recipe["adapt"])
        encoder = learning.encoder
        tasks = [{"name": task.name, "data": task.data, "head": task.head} for task in learning.tasks]
    elif recipe.get("data"):
        section = DataSection.model_validate(recipe["data"])
        encoder = section.encoder
        names = [name for name in section.tasks if name not in section.ready_made]
        tasks = [{"name": name, "data": section.tasks[name], "head": section.tasks[name].head} for name in names]
    if not tasks:
        raise RecipeError(
            "the recipe has no inputs: neither `adapt:` nor `data:` names some", hint="name them: --data TASKS.yaml"
        )
    keys = LabelledSource.model_fields
    for task in tasks:
        source = task["data"]
        task["data"] = LabelledSource(**{key: getattr(source, key) for key in keys if hasattr(source, key)})
    return FigureTasks(tasks=tuple(FigureTask(**task) for task in tasks), encoder=encoder)


def _validated(given: Mapping[str, Any], file: Path | None) -> FigureTasks:
    try:
        return FigureTasks.model_validate(given)
    except ValidationError as error:
        reasons = explain(error, FigureTasks, {})
        raise RecipeError(listed("the tasks are not usable:", reasons), file=file) from error


def _placed(task: FigureTask, folder: Path) -> FigureTask:
    return task.model_copy(update=dict(_moved(task, folder)))


def _moved(task: FigureTask, folder: Path) -> Iterator[tuple[str, Any]]:
    """What of a task has a path, with that path seen from ``folder``."""
    for key in ("head", *_SOURCES):
        part = getattr(task, key)
        if part is not None and part.path is not None:
            yield key, part.model_copy(update={"path": resolved(part.path, folder)})
