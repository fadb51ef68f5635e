"""The recipe's `scale:`: a value, or a rule that reads one off the task vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from mergeometry.errors import RecipeError
from mergeometry.recipe.strict import StrictModel
from mergeometry.recipe.values import Value
from mergeometry.scaling import AUTO, find


class ScaleRule(StrictModel):
    """A scale read off the task vectors, without labels: one per tensor, or one for the whole model.

    ``auto`` is the rule that fits the recipe's method; ``factor`` is a constant that the rule's value is multiplied by.
    """

    shorthand: ClassVar[str] = "rule"
    rule: str = AUTO
    per: Literal["tensor", "model"] = "model"
    factor: Annotated[float, Field(gt=0, le=1e3)] = 1.0

    @field_validator("rule")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == AUTO:
            return value
        try:
            return find(value).name
        except RecipeError as error:
            raise ValueError(error.what) from error

    def settled(self, default: str) -> ScaleRule:
        """Fill in the method's own rule, ``default``, where the recipe says ``auto``."""
        return self.model_copy(update={"rule": default}) if self.rule == AUTO else self

    @property
    def text(self) -> str:
        """The rule in words, such as ``projection per tensor``."""
        times = "" if self.factor == 1 else f"{self.factor:g} x "
        return f"{times}{self.rule}" + ("" if self.rule == "one" else f" per {self.per}")


def _as_scale(value: object) -> object:
    if isinstance(value, Mapping) and value.keys() & {"grid", "tasks"}:
        raise ValueError("a grid is not part of this version: `mergeometry compare` scores one on labelled inputs")
    return {} if value == "auto" else value


def _kind_of_scale(value: object) -> str:
    return "<rule>" if isinstance(value, Mapping | ScaleRule) else "<value>"


Scale = Annotated[
    Annotated[Value, Tag("<value>")] | Annotated[ScaleRule, Tag("<rule>")],
    Discriminator(_kind_of_scale),
    BeforeValidator(_as_scale),
]
