"""The course of learning: one granularity throughout, or coarse coefficients first and finer ones from where they end.

With few inputs, many coefficients fit those inputs and nothing else. So `coefficients: auto` learns few first; finer
ones start from the best of them, and count only where held-out inputs say that they are better still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.learning.coefficients import rates_of
from mergeometry.recipe.adapt import Granularity, LearningSettings

_LADDER: tuple[tuple[Granularity, float, float], ...] = (("tensor", 0.03, 0.4), ("pair", 0.001, 0.6))
"""Granularities from coarse to fine: each with its learning rate, and its share of the steps."""

CHECKS = 10
"""Checks on held-out inputs in a course, where the recipe does not say how often to check."""

_FEW, _LEAST = 16, 3
"""Of few inputs, one in `_LEAST` is held out, and `_FEW` at most: a tenth of them would be too few to check on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps at one granularity, with the learning rate of its coefficients."""

    granularity: Granularity
    steps: int
    rate: float


def stages_of(section: LearningSettings) -> tuple[Stage, ...]:
    """The stages of a course; together they take the section's steps."""
    if section.coefficients != "auto":
        return (Stage(section.coefficients, section.steps, rates_of(section)[0]),)
    stages, left = [], section.steps
    for place, (granularity, rate, share) in enumerate(_LADDER):
        steps = left if place == len(_LADDER) - 1 else min(left, max(1, round(section.steps * share)))
        left -= steps
        if steps:
            stages.append(Stage(granularity, steps, section.learning_rate or rate))
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


def mean_agreement(by_task: Sequence[float | None]) -> float | None:
    """The mean over tasks of the share of inputs on which the merge predicts what the expert does."""
    known = [share for share in by_task if share is not None]
    return sum(known) / len(known) if known else None
