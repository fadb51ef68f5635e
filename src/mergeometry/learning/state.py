"""How far learning has come: the objective at every step, and what a resumed run goes on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mergeometry.deferred import Tensor

Report = Callable[["Point"], None]
"""Called with the point of every step and every check."""


@dataclass(frozen=True, slots=True)
class Point:
    """The objective at one step: its value, its terms averaged over tasks, and the held-out value at a check."""

    step: int
    loss: float
    terms: Mapping[str, float]
    held_out: float | None = None
    by_task: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Everything that a resumed run needs besides the seed: tensors by name, and plain values."""

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    waited: int = 0
    stage: int = 0
    stage_first: int = 0
    """The step after which the current stage began."""
    best_stage: int = 0
    lowest: float = math.inf
    """The lowest held-out objective of the current stage, whether or not it counts as better."""
    points: list[Point] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
