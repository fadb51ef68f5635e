"""TASKS.yaml: which tasks models are scored on, where their inputs and heads are, and how inputs become features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from mergeometry.errors import RecipeError, listed
from mergeometry.recipe.files import resolved, text_of
from mergeometry.recipe.inputs import DataSource, EncoderOptions, HeadSource, Text, as_path
from mergeometry.recipe.strict import StrictModel, explain
from mergeometry.recipe.yaml import parse_yaml

_NOT_YET: Mapping[str, str] = {}


class LabelledSource(DataSource):
    """Where a task's inputs are, and the column with their classes, by default ``label``.

    ``lm_eval`` is a task of lm-evaluation-harness in its place, from the folder ``include_path``, scored by ``metric``.
    """

    label: Text | None = None
    lm_eval: Text | None = None
    include_path: Text | None = None
    metric: Text | None = None

    def _check_place(self) -> None:
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        if self.lm_eval is None:
            if mine := given & {"include_path", "metric"}:
                raise ValueError(f"`{min(mine)}` goes with `lm_eval`, the name of a task")
            super()._check_place()
            return
        if other := given - {"lm_eval", "include_path", "metric", "limit"}:
            raise ValueError(f"`{min(other)}` has no meaning beside `lm_eval`: leave one out")
        if self.include_path is None:
            raise ValueError("`lm_eval` needs `include_path`, the folder with the task's YAML file")


Source = Annotated[LabelledSource, BeforeValidator(as_path)]


class ScoredTask(StrictModel):
    """One task: its head, and inputs to choose a scale on, to report on, and to run its model on before some merges.

    ``name`` is the name of the task's model; an ``unseen`` task has none. ``classes`` names the head's rows in order,
    for data whose labels are names. Language models have neither head nor classes.
    """

    name: Text
    head: Annotated[HeadSource, BeforeValidator(as_path)] | None = None
    classes: tuple[Text, ...] | None = None
    unlabelled: Source | None = None
    validation: Source | None = None
    test: Source | None = None
    unseen: bool = False

    @model_validator(mode="after")
    def _texts_to_run_on(self) -> ScoredTask:
        if self.unlabelled is not None and self.unlabelled.lm_eval is not None:
            raise ValueError("`unlabelled` inputs are texts or images, not a task of lm-evaluation-harness")
        return self


class TasksFile(StrictModel):
    """All tasks, and the encoder that they share."""

    tasks: Annotated[tuple[ScoredTask, ...], Field(min_length=1)]
    encoder: EncoderOptions = EncoderOptions()

    @model_validator(mode="after")
    def _named_once(self) -> TasksFile:
        names = [task.name for task in self.tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tasks are named {twice!r}")
        return self


def load_tasks(source: str | Path | Mapping[str, Any] | TasksFile) -> TasksFile:
    """Read tasks from a YAML file or a mapping; paths in a file are relative to its folder.

    Raises:
        RecipeError: the file cannot be read, a key is unknown (it names the nearest), or a value is invalid.
    """
    if isinstance(source, TasksFile):
        return source
    if isinstance(source, Mapping):
        return _validated(source, None)
    path = Path(source)
    tasks = _validated(_read(path), path)
    return tasks.model_copy(update={"tasks": tuple(_placed(task, path.parent) for task in tasks.tasks)})


def _read(path: Path) -> Mapping[str, Any]:
    given = parse_yaml(text_of(path, "the file of tasks"), path)
    if not isinstance(given, dict):
        raise RecipeError("tasks are a mapping of keys to values", file=path, hint="see docs/comparing.md")
    return given


def _validated(given: Mapping[str, Any], file: Path | None) -> TasksFile:
    try:
        return TasksFile.model_validate(given)
    except ValidationError as error:
        reasons = explain(error, TasksFile, _NOT_YET)
        raise RecipeError(listed("the tasks are not usable:", reasons), file=file) from error


def _placed(task: ScoredTask, folder: Path) -> ScoredTask:
    """The task with all paths relative to ``folder`` resolved."""

    def moved(part: Any) -> Any:
        keys = [key for key in ("path", "include_path") if getattr(part, key, None) is not None]
        if part is None or not keys:
            return part
        return part.model_copy(update={key: resolved(getattr(part, key), folder) for key in keys})

    parts = ("head", "unlabelled", "validation", "test")
    return task.model_copy(update={part: moved(getattr(task, part)) for part in parts})
