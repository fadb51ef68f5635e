"""What the kept points say: their families, accuracies, and shares of the experts' gain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

Point = Mapping[str, Any]
Place = tuple[Any, ...]

SHOWN = {"learned, earlier defaults": "learned, pairs over tsv_m"}
"""What pages call an arm, where that says more than the name it is kept under."""


def families(points: Iterable[Point]) -> list[list[Point]]:
    """The points of each set of tasks and draw of inputs, the fewest tasks first."""
    found: dict[tuple[tuple[str, ...], str], list[Point]] = {}
    for point in points:
        found.setdefault((tuple(point["tasks"]), drawn_of(point)), []).append(point)
    return [found[key] for key in sorted(found, key=lambda key: (len(key[0]), key))]


def drawn_of(point: Point) -> str:
    """Which inputs a point was given: `new` to the experts, or those that they were `trained on`."""
    return point.get("drawn", "trained on")


def kind_of(point: Point) -> str:
    """What the inputs are: `text` or `image`."""
    return point.get("kind", "text")


def trained_of(point: Point) -> int:
    """The training seed of the experts."""
    return point.get("trained", 0)


def way_of(point: Point) -> tuple[str, int]:
    """How it was merged: the arm, and the steps of learning."""
    return point["arm"], point.get("steps", 0)


def name_of(way: tuple[str, int]) -> str:
    """What pages call a way to merge."""
    arm, steps = way
    shown = SHOWN.get(arm, arm)
    return f"{shown}, {steps} steps" if steps else shown


def picture_of(points: Sequence[Point]) -> str:
    """The file that a family's curves are drawn in."""
    return f"few-inputs-{len(points[0]['tasks'])}-{kind_of(points[0])}s.svg"


def is_curve(points: Iterable[Point]) -> bool:
    """Whether there are points at more than one number of inputs."""
    return len({point["count"] for point in points if point["count"]}) > 1


def accuracy(point: Point) -> float:
    """Mean over the tasks, in per cent."""
    return 100 * mean(point["accuracies"].values())


def ends_of(points: Iterable[Point], trained: int = 0) -> tuple[float, float] | None:
    """The mean accuracies of the base and of the experts of a seed, in per cent, where a point has them."""
    for point in points:
        if "ends" in point and trained_of(point) == trained:
            return 100 * mean(point["ends"]["base"].values()), 100 * mean(point["ends"]["experts"].values())
    return None


def share_kept(value: float, ends: tuple[float, float]) -> float:
    """The share of what the experts gain over the base, in per cent."""
    return 100 * (value - ends[0]) / (ends[1] - ends[0])


def joined(earlier: Sequence[Point], later: Sequence[Point]) -> list[Point]:
    """All points, where a later one replaces an earlier one of the same tasks, experts, arm, steps, inputs and draw."""
    return [*({_place(point): point for point in (*earlier, *later)}).values()]


def _place(point: Point) -> Place:
    told = tuple(point["tasks"]), drawn_of(point), trained_of(point)
    return *told, *way_of(point), point["count"], point["seed"]
