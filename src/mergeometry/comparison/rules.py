"""Scale rules without labels, scored along with the validated scale: which scales, and which scores they share."""

from __future__ import annotations

import math
import statistics as plain_statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mergeometry.comparison.entries import called, split
from mergeometry.errors import RecipeError, listed
from mergeometry.plan.layer_scales import layer_scales
from mergeometry.recipe.scale import ScaleRule
from mergeometry.recipe.strict import explain
from mergeometry.scaling import AUTO, LAYER_RULES, RULES, Statistics, UndefinedScale, find, needed_by, scale_by
from mergeometry.scaling.statistics import Need, of_matrices

ALL = "all"

SAME = 5e-4
"""Relative difference below which two scales count as one: the score of the first is used for both."""

Measured = Mapping[str, tuple[bool, Statistics]]
"""Tensor without a scale of its own, to whether it is a matrix and its statistics."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule's result for one entry: ``at`` is the scale, or the scale per tensor, that it is scored at.

    ``scales`` are the rule's own values; ``at`` may be an equal scale that is scored anyway. Where the rule has no
    value, ``scales`` is empty and ``problem`` says why. ``without`` counts the tensors without a value, whose scale
    is 1.
    """

    rule: ScaleRule
    at: float | Mapping[str, float] | None
    scales: tuple[float, ...]
    problem: str = ""
    without: int = 0


def read_rules(given: str | Sequence[Any]) -> tuple[ScaleRule, ...]:
    """Read rules: ``all``, names separated by commas, each with parameters in parentheses, or a list of such.

    A name alone stands for two rules: one scale per model, and one per tensor.

    Raises:
        RecipeError: a rule cannot be read, or is given twice; it lists every reason.
    """
    items = split(given) if isinstance(given, str) else list(given)
    rules, problems = [], []
    for item in list(RULES) if items == [ALL] else items:
        try:
            rules += _rules(item)
        except RecipeError as error:
            problems.append(error.what)
    names = [rule.text for rule in rules]
    problems += [f"{name!r} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise RecipeError(listed("the rules for the scale are not usable:", problems))
    return tuple(rules)


def needs_of(rules: Sequence[ScaleRule]) -> tuple[Need, ...]:
    """What the rules need beyond inner products with the merged tensor."""
    return tuple(sorted({need for rule in rules for need in needed_by(rule.rule)}))


def ruled(rules: Sequence[ScaleRule], measured: Measured, known: Sequence[float]) -> list[Ruled]:
    """Every rule's scales for one entry; ``known`` are scales that are scored anyway."""
    results: list[Ruled] = []
    numbers, mappings = list(known), list[Mapping[str, float]]()
    for rule in rules:
        result = _BY[rule.per](rule, measured)
        at = result.at
        if isinstance(at, Mapping) and at and not result.without and _alike(min(at.values()), max(at.values())):
            at = plain_statistics.median(at.values())
        if isinstance(at, Mapping):
            at = next((other for other in mappings if all(_alike(at[name], other[name]) for name in at)), at)
            mappings.append(at)
        elif at is not None:
            at = next((number for number in numbers if _alike(at, number)), at)
            numbers.append(at)
        results.append(Ruled(rule, at, result.scales, result.problem, result.without))
    return results


def _one_number(rule: ScaleRule, measured: Measured) -> Ruled:
    try:
        scale = scale_by(find(rule.rule), of_matrices(list(measured.values())), rule.factor)
    except UndefinedScale as error:
        return Ruled(rule, None, (), str(error))
    return Ruled(rule, scale, (scale,))


def _by_tensor(rule: ScaleRule, measured: Measured) -> Ruled:
    scales, without = {}, 0
    for name, (_, statistics) in measured.items():
        try:
            scales[name] = scale_by(find(rule.rule), statistics, rule.factor)
        except UndefinedScale:
            # As in a merge by this rule, whose record notes it.
            scales[name], without = 1.0, without + 1
    return Ruled(rule, scales, tuple(scales.values()), without=without)


def _by_layer(rule: ScaleRule, measured: Measured) -> Ruled:
    statistics = {name: own for name, (_, own) in measured.items()}
    scales = layer_scales(LAYER_RULES[rule.rule], statistics, list(measured), rule.factor)
    return Ruled(rule, scales, tuple(scales.values()))


_BY = {"model": _one_number, "layer": _by_layer, "tensor": _by_tensor}


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
        raise RecipeError(
            "'auto' is a different rule for each method: name the one that `mergeometry methods NAME` shows"
        )
    both = "per" not in asked and asked.get("rule") not in {"one", *LAYER_RULES}
    try:
        return [ScaleRule.model_validate({**asked, **more}) for more in _ways(both, asked)]
    except ValidationError as error:
        raise RecipeError("; ".join(explain(error, ScaleRule, {}))) from error


def _ways(both: bool, asked: Mapping[str, Any]) -> list[dict[str, str]]:
    if both:
        return [{"per": "model"}, {"per": "tensor"}]
    return [{"per": "model"}] if asked.get("rule") == "one" else [{}]
