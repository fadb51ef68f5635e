"""mergekit's settings of a parameter, filters and gradients of several scopes, as one value of ours."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergeometry.recipe.mergekit.document import Scope, Slice
from mergeometry.recipe.mergekit.lines import Key, Lines
from mergeometry.recipe.mergekit.methods import MISSING, Parameter

_WORDS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
"""What older readers of YAML, mergekit's among them, take for booleans."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A value for some tensors, and the key in mergekit's recipe that gives it."""

    value: Any
    match: str | None = None
    layers: tuple[int, int] | str | None = None
    key: Key = ()

    @property
    def for_all(self) -> bool:
        """Whether it holds for every tensor that is left."""
        return self.match is None and self.layers is None

    def plain(self) -> dict[str, Any]:
        """The rule as our recipes write it."""
        layers = list(self.layers) if isinstance(self.layers, tuple) else self.layers
        given = {"match": self.match, "layers": layers, "value": self.value}
        return {name: item for name, item in given.items() if item is not None}


def rules_for(parameter: Parameter, scopes: Iterable[Scope], lines: Lines) -> list[Rule]:
    """What a parameter is for each tensor, by the scopes that may give it, the nearest first; then its default.

    Raises:
        RecipeError: a setting is not of the parameter's kind.
    """
    rules: list[Rule] = []
    for scope in scopes:
        if parameter.name not in scope.settings:
            continue
        for rule in _rules(parameter, scope.settings[parameter.name], (*scope.key, parameter.name), lines):
            rules.append(rule)
            if rule.for_all:
                return rules
    if parameter.default is not MISSING:
        rules.append(Rule(parameter.values.get(parameter.default, parameter.default)))
    return rules


def over_slices(rules: Sequence[list[Rule]], slices: Sequence[Slice]) -> list[Rule]:
    """The rules of all slices of a recipe as rules of the one model that they make.

    What comes before the layers goes by the first slice, what comes after by the last.
    """
    if len(rules) == 1:
        return rules[0]
    if all(_same(one, rules[0]) for one in rules) and not any(isinstance(rule.value, list) for rule in rules[0]):
        return rules[0]
    found, start = [], 0
    for one, slice_ in zip(rules, slices, strict=True):
        first, last = slice_.sources[0].layers or (0, 0)
        found += [replace(rule, layers=(start, start + last - first)) for rule in one]
        start += last - first
    before, after = ([replace(rule, value=_first(rule.value)) for rule in one] for one in (rules[0], rules[-1]))
    if _same(before, after):
        return [*found, *before]
    sides = (("before", before), ("after", after))
    return [*found, *(replace(rule, layers=side) for side, one in sides for rule in one)]


def plain_value(rules: Sequence[Rule]) -> Any:
    """The rules as a value of our recipes: a number or a gradient where one holds for all tensors."""
    if rules[0].for_all:
        return rules[0].value
    if rules[-1].for_all and all(rule.value == rules[-1].value for rule in rules):
        return rules[-1].value
    return [rule.plain() for rule in rules]


def _same(one: Sequence[Rule], other: Sequence[Rule]) -> bool:
    return [rule.plain() for rule in one] == [rule.plain() for rule in other]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _rules(parameter: Parameter, given: Any, key: Key, lines: Lines) -> Iterator[Rule]:
    if isinstance(given, Mapping):
        yield _conditional(parameter, given, key, lines)
    elif isinstance(given, list) and any(isinstance(item, Mapping) for item in given):
        for item, place in lines.items(given, key):
            yield _conditional(parameter, item, place, lines)
    elif not isinstance(given, list) or given:
        # mergekit takes an empty list for nothing given.
        yield Rule(_value(parameter, given, key, lines), key=key)


def _conditional(parameter: Parameter, given: Any, key: Key, lines: Lines) -> Rule:
    section = lines.section(given, key, ("filter", "value"), needed=["value"])
    wanted = section.get("filter")
    if not isinstance(wanted, str | None):
        raise lines.error((*key, "filter"), f"a part of a tensor's name is needed, got {wanted!r}")
    match = None if wanted in (None, "*", "") else f"*{glob.escape(wanted)}*"
    return Rule(_value(parameter, section["value"], (*key, "value"), lines), match, key=key)


def _value(parameter: Parameter, given: Any, key: Key, lines: Lines) -> Any:
    if not isinstance(given, list):
        return _scalar(parameter, given, key, lines)
    if not given:
        raise lines.error(key, "a gradient needs numbers")
    if parameter.kind == "switch":
        raise lines.error(key, f"{parameter.name} is true or false, and has no gradient")
    numbers = [_scalar(parameter, item, (*key, place), lines) for place, item in enumerate(given)]
    return numbers if len(numbers) > 1 else numbers[0]


def _scalar(parameter: Parameter, given: Any, key: Key, lines: Lines) -> Any:
    if parameter.kind == "switch":
        found = _WORDS.get(given.lower()) if isinstance(given, str) else given
        if found not in (True, False):
            raise lines.error(key, f"{parameter.name} is true or false, got {given!r}")
        return parameter.values.get(bool(found), bool(found))
    number = given
    if isinstance(given, str):
        try:
            number = float(given)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= 1e30:
        raise lines.error(key, f"{parameter.name} is a number, got {given!r}")
    if parameter.kind == "count" and int(number) != number:
        raise lines.error(key, f"{parameter.name} is a whole number, got {given!r}")
    return int(number) if parameter.kind == "count" else number
