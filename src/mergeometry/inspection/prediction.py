"""What the project's boards showed, as constants: which figures go with a loss, and what methods kept on them.

``python -m benchmarks.studies.calibration`` writes ``prediction.json``; docs/reading-the-report.md has the tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from mergeometry.plan.choice_of_method import Group

FILE = "prediction.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the choice of `method: auto` kept on the boards of a kind of models that scored it."""

    low: float
    high: float
    """The least and the largest share of the experts' mean score that a board kept."""
    boards: int
    fewest_tasks: int
    most_tasks: int


@dataclass(frozen=True, slots=True)
class Predicts:
    """What a figure's rank correlation with the loss is on one level, with its 95 % interval."""

    level: str
    rho: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Loss:
    """Share of its expert's score that a task is estimated to lose, with the ends of a 90 % interval."""

    low: float
    middle: float
    high: float


SQUARED = "squared: "
"""What precedes the name of a figure that is squared."""


def loss_of(figures: Mapping[str, float]) -> Loss | None:
    """The loss of a task in a merge; None where a figure is missing, or no model held on what it never saw."""
    model = _constants()["model"]
    if model is None or any(name.removeprefix(SQUARED) not in figures for name in model["figures"]):
        return None
    nats = model["intercept"]
    for name, centre, size, weight in zip(
        model["figures"], model["centre"], model["size"], model["weights"], strict=True
    ):
        value = figures[name.removeprefix(SQUARED)]
        nats += weight * ((value**2 if name.startswith(SQUARED) else value) - centre) / size
    nats = max(model["least"], nats)
    low, middle, high = (1 - math.exp(-nats * (1 + more)) for more in (model["below"], 0.0, model["above"]))
    return Loss(low, middle, high)


def kept_by_auto(group: Group) -> Kept | None:
    """What the choice of `method: auto` kept for a group of models; None without a board."""
    own = _constants()["auto"].get(group)
    return None if own is None else Kept(**own)


def kept_by(kind: str, method: str, *, validated: bool) -> tuple[float, float] | None:
    """The least and the largest share of the experts' mean score that a method kept; None where no board has it."""
    own = _constants()["kinds"].get(kind, {}).get(method)
    return None if own is None else tuple(own["at_best" if validated else "at_one"])


def predicts(figure: str) -> tuple[Predicts, ...]:
    """The levels on which a figure goes with the loss on every board, better than plain norms do; else empty."""
    return tuple(Predicts(**own) for own in _constants()["figures"].get(figure, ()))


@lru_cache(maxsize=1)
def _constants() -> dict[str, Any]:
    return json.loads(files("mergeometry.inspection").joinpath(FILE).read_text("utf-8"))
