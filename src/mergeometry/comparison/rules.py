"""Rules for the scale without labels, scored beside the validated scale: which scales, and which scores they share."""

from __future__ import annotations

import math
import statistics as plain_statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mergeometry.comparison.entries import called, split
from mergeometry.errors import RecipeError
from mergeometry.recipe.scale import ScaleRule
from mergeometry.recipe.strict import explain
from mergeometry.scaling import AUTO, RULES, Statistics, UndefinedScale, find, scale_by
from mergeometry.scaling.statistics import Need, of_matrices

ALL = "all"

SAME = 5e-4
"""Relative difference under which two scales are one: the first that was scored stands for both."""

Measured = Mapping[str, tuple[bool, Statistics]]
"""Tensor that follows the curve to whether it is a matrix, and its statistics."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """What a rule says of one entry: ``at`` is the one scale, or a scale by tensor, that it is scored at.

    ``scales`` are the rule's own values, of which ``at`` may be a neighbour's; none where the rule has no value, and
    ``problem`` says why. ``without`` counts tensors that keep the scale 1 since the rule has none for them.
    """

    rule: ScaleRule
    at: float | Mapping[str, float] | None
    scales: tuple[float, ...]
    problem: str = ""
    without: int = 0


def read_rules(given: str | Sequence[Any]) -> tuple[ScaleRule, ...]:
    """Read rules: ``all``, names with commas between them, each with parameters in parentheses, or a list of such.

    A name alone stands for one scale a model and for one a tensor.

    Raises:
        RecipeError: a rule cannot be read, or is given twice; with every reason.
    """
    items = split(given) if isinstance(given, str) else list(given)
    found, problems = [], []
    for item in list(RULES) if items == [ALL] else items:
        try:
            found += _rules(item)
        except RecipeError as error:
            problems.append(error.what)
    names = [rule.text for rule in found]
    problems += [f"{name!r} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise RecipeError("the rules for the scale are not usable:\n  - " + "\n  - ".join(problems))
    return tuple(found)


def needs_of(rules: Sequence[ScaleRule]) -> tuple[Need, ...]:
    """What the rules ask for beyond inner products with the merged tensor."""
    return tuple(sorted({need for rule in rules for need in find(rule.rule).needs}))


def ruled(rules: Sequence[ScaleRule], measured: Measured, known: Sequence[float]) -> list[Ruled]:
    """Every rule's scales for one entry; ``known`` are scales that are scored anyway."""
    found: list[Ruled] = []
    numbers, mappings = list(known), list[Mapping[str, float]]()
    for rule in rules:
        own = _one_number(rule, measured) if rule.per == "model" else _by_tensor(rule, measured)
        at = own.at
        if isinstance(at, Mapping) and at and not own.without and _alike(min(at.values()), max(at.values())):
            at = plain_statistics.median(at.values())
        if isinstance(at, Mapping):
            at = next((other for other in mappings if all(_alike(at[name], other[name]) for name in at)), at)
            mappings.append(at)
        elif at is not None:
            at = next((number for number in numbers if _alike(at, number)), at)
            numbers.append(at)
        found.append(Ruled(rule, at, own.scales, own.problem, own.without))
    return found


def _one_number(rule: ScaleRule, measured: Measured) -> Ruled:
    try:
        scale = scale_by(find(rule.rule), of_matrices(list(measured.values())), rule.factor)
    except UndefinedScale as error:
        return Ruled(rule, None, (), str(error))
    return Ruled(rule, scale, (scale,))


def _by_tensor(rule: ScaleRule, measured: Measured) -> Ruled:
    found, without = {}, 0
    for name, (_, own) in measured.items():
        try:
            found[name] = scale_by(find(rule.rule), own, rule.factor)
        except UndefinedScale:
            # As in a merge by this rule, whose record says so.
            found[name], without = 1.0, without + 1
    return Ruled(rule, found, tuple(found.values()), without=without)


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME)


def _rules(item: Any) -> list[ScaleRule]:
    if isinstance(item, ScaleRule):
        return [item]
    if isinstance(item, str):
        name, given = called(item)
        asked: dict[str, Any] = {"rule": name, **given}
    elif isinstance(item, Mapping):
        asked = dict(item)
    else:
        raise RecipeError(f"a rule is a name or a mapping, got {item!r}")
    if asked.get("rule") == AUTO:
        raise RecipeError("'auto' is another rule for each method, as `mergeometry methods NAME` says: name them")
    both = "per" not in asked and asked.get("rule") != "one"
    try:
        return [ScaleRule.model_validate({**asked, **more}) for more in _ways(both, asked)]
    except ValidationError as error:
        raise RecipeError("; ".join(explain(error, ScaleRule, {}))) from error


def _ways(both: bool, asked: Mapping[str, Any]) -> list[dict[str, str]]:
    if both:
        return [{"per": "model"}, {"per": "tensor"}]
    return [{"per": "model"}] if asked.get("rule") == "one" else [{}]
