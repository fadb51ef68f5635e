"""How a recipe writes a model that is put together from layers of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mergeometry.recipe.strict import StrictModel


def as_text(value: object) -> object:
    """A path as text; anything else as it is."""
    return str(value) if isinstance(value, Path) else value


class LayerRange(StrictModel):
    """Layers of one model, from the first up to, not including, the last."""

    path: Annotated[str, BeforeValidator(as_text), Field(min_length=1)]
    layers: tuple[Annotated[int, Field(ge=0, strict=True)], Annotated[int, Field(ge=1, strict=True)]]

    @model_validator(mode="after")
    def _not_empty(self) -> LayerRange:
        first, last = self.layers
        if first >= last:
            raise ValueError(f"layers: [{first}, {last}] are no layers: the first is included, the last is not")
        return self

    def located(self, locate: Callable[[str], str]) -> LayerRange:
        """The same with its path as ``locate`` gives it."""
        return self.model_copy(update={"path": locate(self.path)})


Layers = Annotated[tuple[LayerRange, ...], Field(min_length=1)]


class StackedBase(StrictModel):
    """A base that is put together from layers of other models."""

    stack: Layers


def _form(value: object) -> str:
    return "<stack>" if isinstance(value, Mapping | StackedBase) else "<path>"


Base = Annotated[
    Annotated[str, BeforeValidator(as_text), Field(min_length=1), Tag("<path>")]
    | Annotated[StackedBase, Tag("<stack>")],
    Discriminator(_form),
]
"""The base: a path, or a stack."""


def located_base(base: str | StackedBase, locate: Callable[[str], str]) -> str | StackedBase:
    """The base with every path in it as ``locate`` gives it."""
    if isinstance(base, str):
        return locate(base)
    return base.model_copy(update={"stack": tuple(entry.located(locate) for entry in base.stack)})


def paths_of_base(base: str | StackedBase) -> tuple[str, ...]:
    """Every path that the base names."""
    return (base,) if isinstance(base, str) else tuple(entry.path for entry in base.stack)
