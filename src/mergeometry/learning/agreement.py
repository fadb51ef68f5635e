"""How often the merge predicts what each task's expert predicts, on inputs that were held out, and what that says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergeometry.learning.held_out import Gain
from mergeometry.learning.objective import AGREEMENT
from mergeometry.learning.state import Point, State

_FAR_ABOVE = 2.0
"""A held-out objective so many times the training one is that of coefficients which fit the inputs and not the task."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of a task's held-out inputs, or of the tokens in them, on which merge and expert predict the same."""

    task: str
    start: float
    kept: float

    def to_json(self) -> dict[str, float]:
        """As the run record has it."""
        return {"start": round(self.start, 4), "kept": round(self.kept, 4)}


def agreements(state: State) -> tuple[Agreement, ...]:
    """The agreement with every expert before learning and as kept; none without heads, experts or held-out inputs."""
    checks = {point.step: point for point in state.points if point.held_out is not None}
    first, kept = checks.get(0), checks.get(state.best_step)
    if first is None or kept is None:
        return ()
    return tuple(
        Agreement(task, terms[AGREEMENT], kept.by_task[task][AGREEMENT])
        for task, terms in first.by_task.items()
        if AGREEMENT in terms and AGREEMENT in kept.by_task.get(task, {})
    )


def agreement_notes(state: State, *, chosen: bool, numbers: int, inputs: int, gain: Gain) -> list[str]:
    """What the held-out inputs say of a finished course, on which their objective fell by ``gain``.

    ``chosen`` tells that granularity and state were chosen by them (`coefficients: auto`); ``numbers`` coefficients
    were learned from ``inputs``.
    """
    notes, shares = [], agreements(state)
    if chosen and not any(point.held_out is not None for point in state.points):
        return [
            "too few inputs to hold any out, so nothing was learned: the merge without data is kept; give every task "
            "two inputs or more"
        ]
    if chosen and state.best_step == 0:
        notes.append(
            f"{state.step} steps of learning did not beat the merge without data on held-out inputs: that merge is "
            f"kept ({_shortfall(gain)})"
        )
    if chosen and shares and all(one.start == 1 for one in shares):
        notes.append(
            "the merge without data predicts what the experts do on every held-out input already: only more inputs, or "
            "inputs that the experts were not trained on, can show what learning gains"
        )
    before, after = (sum(side) / max(1, len(shares)) for side in ([a.start for a in shares], [a.kept for a in shares]))
    if after < before:
        notes.append(
            f"the learned merge agrees less with the experts on held-out inputs than the merge that it started from "
            f"({100 * after:.1f} % of them, and {100 * before:.1f} %): leave `adapt.coefficients` out, which then "
            "keeps the better one"
        )
    ratio = _held_out_by_training(state)
    if not chosen and ratio is not None and ratio > _FAR_ABOVE:
        notes.append(
            f"overfitting: the held-out objective is {ratio:.1f} times that of training, with {numbers:,} coefficients "
            f"learned from {inputs:,} inputs: leave `adapt.coefficients` out, name a coarser one (tensor), or give "
            "more inputs"
        )
    return notes


def _shortfall(gain: Gain) -> str:
    """Why a merge does not count as better."""
    if math.isinf(gain.error):
        return "of one held-out input no error is known"
    if gain.mean <= 0:
        return "the objective never fell"
    if gain.shown:
        return "the objective fell, but fewer predictions were the experts'"
    return f"the objective fell by {gain} at most, and counts from {gain.needed:.1f} standard errors"


def agreement_line(shares: Mapping[str, Any]) -> str:
    """The record's agreements in one line, per cent."""
    parts = [f"{task} {100 * one['start']:.1f} -> {100 * one['kept']:.1f}" for task, one in shares.items()]
    return f"agreement with the experts on held-out inputs, %: {', '.join(parts)}"


def _held_out_by_training(state: State) -> float | None:
    """The held-out objective at the last check as a multiple of the training objective of the steps up to it."""
    places = [place for place, point in enumerate(state.points) if point.held_out is not None]
    if len(places) < 2:
        return None
    losses = [point.loss for point in _steps(state.points[places[-2] + 1 : places[-1] + 1])]
    training, held_out = sum(losses) / len(losses), state.points[places[-1]].held_out
    assert held_out is not None
    return held_out / training if training > 0 else None


def _steps(points: Sequence[Point]) -> Sequence[Point]:
    return [point for point in points if point.step]
