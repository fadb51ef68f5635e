"""The tasks of the recipe's ``adapt:`` section: which inputs, and which head, each model learns with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from mergeometry.recipe.inputs import AdaptTask, DataSource, as_source
from mergeometry.recipe.strict import StrictModel


class AdaptTasks(StrictModel):
    """A task for each model; ``data`` is for tasks that name none of their own, and can only be `synthetic`."""

    tasks: tuple[AdaptTask, ...] = ()
    data: Annotated[DataSource, BeforeValidator(as_source)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _data_for_all(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("data") is None or not isinstance(given.get("tasks"), list | tuple):
            return given
        shared = as_source(given["data"])
        tasks = [{"data": shared, **task} if isinstance(task, dict) else task for task in given["tasks"]]
        return {**given, "tasks": tasks}

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.data is not None and self.data.synthetic is None:
            raise ValueError("`data` for all tasks can only be `synthetic`: data that are read are given by task")
        if not self.tasks and self.data is None:
            raise ValueError("'adapt.tasks' is missing: name each model's data, or write `data: synthetic`")
        names = [task.name for task in self.tasks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tasks are named {twice!r}")
        return self

    def with_all(self, models: Sequence[str]) -> Self:
        """The section with a task for each of the models that has none, on inputs that are made."""
        named = {task.name for task in self.tasks}
        if self.data is None or named >= set(models):
            return self
        added = (AdaptTask(name=name, data=self.data) for name in models if name not in named)
        return self.model_copy(update={"tasks": (*self.tasks, *added)})

    @property
    def places(self) -> list[str]:
        """The paths of all data and heads; a data set that is named has none."""
        heads = [task.head.path for task in self.tasks if task.head is not None]
        return [*(task.data.path for task in self.tasks if task.data.path is not None), *heads]

    def with_paths(self, resolve: Callable[[str], str]) -> Self:
        """Return the section with every path of data and heads resolved by the function given."""
        tasks = []
        for task in self.tasks:
            place = task.data.path
            data = task.data if place is None else task.data.model_copy(update={"path": resolve(place)})
            head = task.head and task.head.model_copy(update={"path": resolve(task.head.path)})
            tasks.append(task.model_copy(update={"data": data, "head": head}))
        return self.model_copy(update={"tasks": tuple(tasks)})
