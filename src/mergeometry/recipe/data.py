"""The recipe's ``data:`` section: what merges by activations or Fisher information need of each model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mergeometry.recipe.inputs import Count, DataSource, EncoderOptions, HeadSource, Text, as_path
from mergeometry.recipe.strict import StrictModel

ACTIVATIONS, FISHER = "activations", "Fisher information"
"""What a method may merge by, in words, for which it needs a `data:` section."""


class ModelData(DataSource):
    """One model's unlabelled inputs, and its linear head where it has one in another file; or its Fisher information.

    ``fisher`` is a safetensors file, or a folder, with a tensor for each of the model's, in place of inputs.
    """

    head: Annotated[HeadSource, BeforeValidator(as_path)] | None = None
    fisher: Text | None = None

    def _check_place(self) -> None:
        if self.fisher is None:
            super()._check_place()
        elif self.model_fields_set - {"fisher"}:
            raise ValueError(
                "`fisher` is a file of Fisher information, in place of inputs and all that belongs to them"
            )


class DataSection(StrictModel):
    """Unlabelled texts or images for each model, by the model's name; see docs/recipes.md for every key.

    ``limit`` applies to each task whose source has no limit of its own. ``labels`` says how Fisher information is
    estimated: in ``expected`` value over every class, or by a number of labels drawn from the model's predictions.
    """

    tasks: Annotated[dict[Text, Annotated[ModelData, BeforeValidator(as_path)]], Field(min_length=1)]
    limit: Count = 32
    labels: Literal["expected"] | Count | None = None
    encoder: EncoderOptions = EncoderOptions()

    def source(self, task: str) -> DataSource:
        """Where a task's inputs are, and how many of them are used."""
        data = self.tasks[task]
        return data if data.limit is not None else data.model_copy(update={"limit": self.limit})

    @property
    def for_fisher(self) -> list[str]:
        """The keys that only Fisher information needs, of those that are given."""
        of_tasks = [
            f"data.tasks.{name}.{key}"
            for name, data in self.tasks.items()
            for key, value in (("head", data.head), ("fisher", data.fisher))
            if value is not None
        ]
        return [*of_tasks, *(["data.labels"] if self.labels is not None else [])]

    @property
    def ready_made(self) -> dict[str, str]:
        """The places of Fisher information that is on disk already, by the model's name."""
        return {name: data.fisher for name, data in self.tasks.items() if data.fisher is not None}

    @property
    def places(self) -> list[str]:
        """The paths of all data, heads and Fisher information; a data set that is named has none."""
        given = [
            place for data in self.tasks.values() for place in (data.path, data.head and data.head.path, data.fisher)
        ]
        return [place for place in given if place is not None]

    def with_paths(self, resolve: Callable[[str], str]) -> DataSection:
        """Return the section with every path resolved by the function given."""
        return self.model_copy(update={"tasks": {name: _moved(data, resolve) for name, data in self.tasks.items()}})

    def of(self, names: Collection[str]) -> DataSection | None:
        """Return the section for the named models alone; None if it has none of them."""
        kept = {name: data for name, data in self.tasks.items() if name in names}
        return self.model_copy(update={"tasks": kept}) if kept else None

    @property
    def inputs_alone(self) -> DataSection:
        """The section without the keys that only Fisher information needs, where every model has inputs."""
        tasks = {name: data.model_copy(update={"head": None}) for name, data in self.tasks.items()}
        return self.model_copy(update={"tasks": tasks, "labels": None})


def _moved(data: ModelData, resolve: Callable[[str], str]) -> ModelData:
    """One model's data with every path resolved."""
    moved: dict[str, object] = {
        key: resolve(place) for key, place in (("path", data.path), ("fisher", data.fisher)) if place is not None
    }
    if data.head is not None:
        moved["head"] = data.head.model_copy(update={"path": resolve(data.head.path)})
    return data.model_copy(update=moved)
