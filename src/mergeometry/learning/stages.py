"""The course of learning: one granularity throughout, or coarse coefficients first and finer ones from where they end.

With few inputs, many coefficients fit those inputs and nothing else. So `coefficients: auto` learns few first; finer
ones start from the best of them, and count only where held-out inputs say that they are better still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.learning.coefficients import rates_of
from mergeometry.recipe.adapt import Granularity, LearningSettings

_LADDER: tuple[tuple[Granularity, float], ...] = (("tensor", 0.4), ("pair", 0.6))
"""Granularities from coarse to fine, each with its share of the steps."""

_WIDE = 128
"""Directions of a tensor at which the rate of pairs was chosen: eight adapters of rank 16."""

PAIRS_FROM = 128
"""Inputs per task from which pairs are learned: of fewer, they fit these inputs and nothing else (docs/learning.md)."""

CHECKS = 10
"""Checks on held-out inputs in a course, where the recipe does not say how often to check."""

_FEW, _LEAST = 32, 2
"""Of few inputs, one in `_LEAST` is held out, and `_FEW` at most: a tenth of them would be too few to check on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps at one granularity, with the learning rate of its coefficients."""

    granularity: Granularity
    steps: int
    rate: float


def stages_of(section: LearningSettings, widest: int = 0, inputs: float = PAIRS_FROM) -> tuple[Stage, ...]:
    """The stages of a course; together they take the section's steps.

    ``inputs`` is the mean number of a task's inputs; of few, and of those that are made, one stage is enough.
    ``widest`` is the most directions that a tensor has, all tasks' together. A step of Adam moves all R x R pairs of
    them at once, which changes the tensor by as much as R times the rate: so the rate of pairs falls with R.
    """
    if section.coefficients != "auto":
        return (Stage(section.coefficients, section.steps, rates_of(section)[0]),)
    stages, left = [], section.steps
    ladder = _LADDER if inputs >= PAIRS_FROM and section.may_learn_pairs else _LADDER[:1]
    for place, (granularity, share) in enumerate(ladder):
        steps = left if place == len(ladder) - 1 else min(left, max(1, round(section.steps * share)))
        left -= steps
        rate = rates_of(section.model_copy(update={"coefficients": granularity}))[0]
        if granularity == "pair" and section.learning_rate is None:
            rate *= min(1.0, _WIDE / max(1, widest))
        if steps:
            stages.append(Stage(granularity, steps, rate))
    return tuple(stages)


def check_every(section: LearningSettings) -> int:
    """The number of steps from one check to the next."""
    if section.coefficients != "auto" or "check_every" in section.model_fields_set:
        return section.check_every
    return max(1, section.steps // CHECKS)


def held_out_share(section: LearningSettings, inputs: int) -> float:
    """The share of a task's inputs that is held out: more of few, where coefficients are chosen by them."""
    if section.coefficients != "auto" or "held_out" in section.model_fields_set or inputs < 2:
        return section.held_out
    return max(section.held_out, min(max(1, inputs // _LEAST), _FEW) / inputs)


def matches_strength(section: LearningSettings, inputs: Sequence[int], heads: Sequence[object | None]) -> bool:
    """Whether experts are compared at the merge's own strength: of few inputs, where only predictions count.

    Language models' predictions are over words, and keep their strength.
    """
    few = sum(inputs) < PAIRS_FROM * len(inputs)
    as_given = {"distill", "hidden", "temperature", "rotation"} & section.model_fields_set
    by_default = section.objective == "distill" and section.coefficients == "auto" and not as_given
    return few and by_default and all(head is not None for head in heads)
