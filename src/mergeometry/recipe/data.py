"""The recipe's ``data:`` section: unlabelled inputs that the models are run on before methods that need activations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated

from pydantic import BeforeValidator, Field

from mergeometry.recipe.adapt import Count, DataSource, EncoderOptions, Text, as_path
from mergeometry.recipe.strict import StrictModel


class DataSection(StrictModel):
    """Unlabelled texts or images for each model, by the model's name; see docs/recipes.md for every key.

    ``limit`` applies to each task whose source has no limit of its own.
    """

    tasks: Annotated[dict[Text, Annotated[DataSource, BeforeValidator(as_path)]], Field(min_length=1)]
    limit: Count = 32
    encoder: EncoderOptions = EncoderOptions()

    def source(self, task: str) -> DataSource:
        """Where a task's inputs are, and how many of them are used."""
        data = self.tasks[task]
        return data if data.limit is not None else data.model_copy(update={"limit": self.limit})

    @property
    def places(self) -> list[str]:
        """The paths of all data; a data set that is named has none."""
        return [data.path for data in self.tasks.values() if data.path is not None]

    def with_paths(self, resolve: Callable[[str], str]) -> DataSection:
        """Return the section with every path resolved by the function given."""
        moved = {
            name: data if data.path is None else data.model_copy(update={"path": resolve(data.path)})
            for name, data in self.tasks.items()
        }
        return self.model_copy(update={"tasks": moved})

    def of(self, names: Collection[str]) -> DataSection | None:
        """Return the section for the named models alone; None if it has none of them."""
        kept = {name: data for name, data in self.tasks.items() if name in names}
        return self.model_copy(update={"tasks": kept}) if kept else None
