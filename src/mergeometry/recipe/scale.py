"""The recipe's `scale:`: a value, a rule that reads one off the task vectors, or a grid to choose from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from mergeometry.errors import RecipeError
from mergeometry.recipe.strict import StrictModel
from mergeometry.recipe.values import Value
from mergeometry.scaling import AUTO, LAYER_RULES, find


class ScaleRule(StrictModel):
    """A scale read off the task vectors, without labels: one per tensor, one per layer, or one for the whole model.

    ``auto`` is the rule that fits the recipe's method; ``factor`` is a constant that the rule's value is multiplied by.
    A rule for layers is always per layer, and no other is.
    """

    shorthand: ClassVar[str] = "rule"
    rule: str = AUTO
    per: Literal["tensor", "layer", "model"] = "model"
    factor: Annotated[float, Field(gt=0, le=1e3)] = 1.0

    @field_validator("rule")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == AUTO or value in LAYER_RULES:
            return value
        try:
            return find(value).name
        except RecipeError as error:
            raise ValueError(error.what) from error

    @model_validator(mode="before")
    @classmethod
    def _by_layer(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("rule") in LAYER_RULES:
            return {"per": "layer", **given}
        return given

    @model_validator(mode="after")
    def _of_its_kind(self) -> ScaleRule:
        if (self.per == "layer") != (self.rule in LAYER_RULES):
            which = ", ".join(LAYER_RULES)
            raise ValueError(f"per: {self.rule} does not give one scale per {self.per}; per layer is for {which} alone")
        return self

    def settled(self, default: str) -> ScaleRule:
        """Fill in the method's own rule, ``default``, where the recipe says ``auto``."""
        return self.model_copy(update={"rule": default}) if self.rule == AUTO else self

    @property
    def text(self) -> str:
        """The rule in words, such as ``projection per tensor``."""
        times = "" if self.factor == 1 else f"{self.factor:g} x "
        return f"{times}{self.rule}" + ("" if self.rule == "one" else f" per {self.per}")


MOST_SCALES = 200
"""The most scales of a grid."""

# Scales are kept to ten digits, and smaller ones would be 0; smaller steps have no count that is worth writing.
_Tried = Annotated[float, Field(ge=1e-6, le=1e3)]


class ScaleGrid(StrictModel):
    """Scales to try on the validation inputs of labelled tasks: from ``grid``, first, last and step, or ``values``.

    ``tasks`` is a TASKS.yaml, as `mergeometry compare` takes it.
    """

    tasks: Annotated[str, Field(min_length=1)]
    grid: tuple[_Tried, _Tried, _Tried] | None = None
    values: Annotated[tuple[_Tried, ...], Field(min_length=2, max_length=MOST_SCALES)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ScaleGrid:
        if (self.grid is None) == (self.values is None):
            raise ValueError("give either `grid: [first, last, step]` or `values: [...]`")
        if self.grid is not None and not self.grid[0] < self.grid[1]:
            raise ValueError(f"grid: the first scale is not below the last, got {list(self.grid)}")
        if self.grid is not None and _count(*self.grid) > MOST_SCALES:
            raise ValueError(f"grid: {_count(*self.grid)} scales are more than {MOST_SCALES}: use a larger step")
        if len(self.scales) < 2:
            raise ValueError("there is only one scale to try: give it as a number")
        return self

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales, ascending, each once."""
        first, last, step = self.grid or (0.0, 0.0, 1.0)
        given = self.values or [first + step * place for place in range(_count(first, last, step))]
        # Steps of a tenth do not add up exactly; ten digits do.
        return tuple(sorted({round(value, 10) for value in given}))


def _count(first: float, last: float, step: float) -> int:
    return math.floor((last - first) / step + 1e-9) + 1


_KEYS_OF_A_GRID = frozenset({"grid", "values", "tasks"})


def _as_scale(value: object) -> object:
    return {} if value == "auto" else value


def _kind_of_scale(value: object) -> str:
    if isinstance(value, ScaleGrid) or (isinstance(value, Mapping) and value.keys() & _KEYS_OF_A_GRID):
        return "<grid>"
    return "<rule>" if isinstance(value, Mapping | ScaleRule) else "<value>"


Scale = Annotated[
    Annotated[Value, Tag("<value>")] | Annotated[ScaleRule, Tag("<rule>")] | Annotated[ScaleGrid, Tag("<grid>")],
    Discriminator(_kind_of_scale),
    BeforeValidator(_as_scale),
]
