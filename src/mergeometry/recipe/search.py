"""The recipe's ``search:`` section: what is tried, how often, and what judges it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mergeometry.recipe.strict import StrictModel
from mergeometry.recipe.values import Factor, no_switch

_Text = Annotated[str, Field(min_length=1)]
_Layers = Annotated[int, Field(ge=1, le=64, strict=True)]


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError(f"a range ends above where it begins, got {list(value)}")
    return value


def _as_span(value: object) -> object:
    return {"range": value} if isinstance(value, list | tuple) else value


class Span(StrictModel):
    """The least and the largest number to try, for all layers or for each of ``layers`` groups of them."""

    shorthand: ClassVar[str] = "range"
    range: tuple[Factor, Factor]
    layers: _Layers = 1

    @field_validator("range")
    @classmethod
    def _a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        return _ascending(value)


class Option(StrictModel):
    """What to try for one parameter of the method: numbers from a ``range``, or one of the ``choices``."""

    shorthand: ClassVar[str] = "range"
    range: tuple[int | float, int | float] | None = None
    choices: Annotated[tuple[bool | int | float | str, ...], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Option:
        if (self.range is None) == (self.choices is None):
            raise ValueError("give either a range, `[least, largest]`, or `choices`")
        if self.range is not None:
            _ascending(self.range)
        return self


class SearchSection(StrictModel):
    """A search by the validation score of merges: ranges for weights, scales and options, and a budget.

    ``tasks`` is a TASKS.yaml, as `mergeometry compare` takes it. ``trials`` counts the recipe as it is written, which
    is the first; ``minutes`` are those of the search alone.
    """

    tasks: _Text
    trials: Annotated[int, Field(ge=2, le=100_000, strict=True)] | None = None
    minutes: Annotated[float, BeforeValidator(no_switch), Field(gt=0, le=1e5)] | None = None
    weights: Annotated[Span, BeforeValidator(_as_span)] | None = None
    scale: Annotated[Span, BeforeValidator(_as_span)] | None = None
    options: dict[_Text, Annotated[Option, BeforeValidator(_as_span)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_search(self) -> SearchSection:
        if self.weights is None and self.scale is None and not self.options:
            raise ValueError("there is nothing to try: give `weights`, `scale` or `options`")
        if self.trials is None and self.minutes is None:
            raise ValueError("there is no budget: give `trials`, `minutes` or both")
        if self.scale is not None and self.scale.range[0] <= 0:
            raise ValueError(f"scale: scales are above 0, got {list(self.scale.range)}")
        return self

    def with_paths(self, change: Callable[[str], str]) -> SearchSection:
        """The section with the path of its tasks changed."""
        return self.model_copy(update={"tasks": change(self.tasks)})

    @property
    def question(self) -> dict[str, Any]:
        """What the search asks, without its budget, which may grow when it is continued."""
        return self.model_dump(mode="json", exclude={"trials", "minutes"})
