"""What a search may change in a recipe: numbers within ranges, and the recipe that given numbers make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.plan.plan import Plan
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.search import Option, SearchSection, Span
from mergeometry.words import nearest

Values = Mapping[str, Any]
"""Parameter to value, such as ``weight.first``, ``scale.2`` (of the third group of layers) or ``density``."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number, or one of several choices, that a search sets."""

    name: str
    start: Any
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    choices: tuple[Any, ...] = ()


class Space:
    """The parameters of a search over the recipe of a plan, whose scale is a number where that is searched."""

    def __init__(self, plan: Plan, section: SearchSection) -> None:
        """Check that the recipe has one number, or a value, for everything that is searched.

        Raises:
            RecipeError: a weight, the scale or an option differs between tensors, or there is no such option.
        """
        self._recipe = plan.recipe.model_copy(update={"search": None})
        self._section = section
        self._layers = LayerNames(plan.base.tensors, plan.base.config)
        self._count = max((tower.count for tower in self._layers.towers.values()), default=0)
        groups = max((span.layers for span in (section.weights, section.scale) if span is not None), default=1)
        if groups > max(1, self._count):
            raise RecipeError(
                f"search: {groups} groups of layers are asked for, and the base has {self._count} numbered layers"
            )
        self.parameters = tuple(self._all())

    @property
    def start(self) -> dict[str, Any]:
        """The recipe as it is written."""
        return {one.name: one.start for one in self.parameters}

    def recipe(self, values: Values) -> Recipe:
        """The recipe with these values; that of ``start`` is the recipe as it is written."""
        given, section = self._recipe.canonical(), self._section
        if section.scale is not None:
            given["scale"] = self._by_layers("scale", section.scale, values)
        if section.weights is not None:
            for model in given["models"]:
                model["weight"] = self._by_layers(f"weight.{model['name']}", section.weights, values)
        for name in section.options:
            given["method"][name] = values[name]
        return load_recipe(given)

    def _all(self) -> Iterator[Parameter]:
        section, recipe = self._section, self._recipe
        if section.weights is not None:
            for entry in recipe.models:
                start = _number(entry.weight, f"the weight of {entry.name}", "weights")
                yield from self._spanned(f"weight.{entry.name}", section.weights, start, logarithmic=False)
        if section.scale is not None:
            start = _number(recipe.scale, "the scale", "scale")
            yield from self._spanned("scale", section.scale, start, logarithmic=True)
        known = registry.build(recipe.method.name, {}).described() if section.options else {}
        built = registry.build(recipe.method.name, recipe.method.given).described() if section.options else {}
        for name, option in section.options.items():
            if name not in known:
                raise RecipeError(
                    f"search.options: {recipe.method.name} has no option {name!r}{nearest(name, list(known))}"
                )
            yield _option(name, option, built[name])

    def _spanned(self, name: str, span: Span, start: float, *, logarithmic: bool) -> Iterator[Parameter]:
        # The recipe as it is written is always among what is tried.
        low, high = min(span.range[0], start), max(span.range[1], start)
        for one in self._names(name, span):
            yield Parameter(one, start, low, high, logarithmic)

    def _names(self, name: str, span: Span) -> list[str]:
        return [name] if span.layers == 1 else [f"{name}.{group}" for group in range(span.layers)]

    def _by_layers(self, name: str, span: Span, values: Values) -> Any:
        """A number, or one for each group of layers; what is before them is in the first, what is after in the last."""
        numbers = [values[one] for one in self._names(name, span)]
        if len(set(numbers)) == 1:
            return numbers[0]
        ends = [round(self._count * group / span.layers) for group in range(span.layers + 1)]
        cases: list[dict[str, Any]] = [
            {"layers": [first, end], "value": number}
            for first, end, number in zip(ends, ends[1:], numbers, strict=False)
        ]
        places = (self._layers.place(one) for one in self._layers.names)
        if any(place is not None and place.layer is None and not place.after for place in places):
            cases.append({"layers": "before", "value": numbers[0]})
        return [*cases, {"value": numbers[-1]}]


def _number(value: Any, what: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecipeError(
            f"search: {what} is not one number for all tensors, from which a search could start",
            hint=f"give a number, or leave `search.{key}` out",
        )
    return float(value)


def _option(name: str, option: Option, start: Any) -> Parameter:
    if option.choices is not None:
        choices: Sequence[Any] = option.choices
        return Parameter(name, start, choices=tuple(choices if start in choices else (start, *choices)))
    if isinstance(start, bool) or not isinstance(start, int | float):
        raise RecipeError(
            f"search.options.{name}: the recipe starts at {start!r}, which is no number",
            hint="give the method a number to start from, or give `choices`",
        )
    assert option.range is not None
    low, high = min(option.range[0], start), max(option.range[1], start)
    if all(isinstance(end, int) for end in (low, high)):
        return Parameter(name, start, low, high)
    return Parameter(name, float(start), float(low), float(high))
