"""How much of a model the method itself merges, and how much is left to others or copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from mergeometry.plan.choice import other_of
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask


@dataclass(frozen=True, slots=True)
class Shares:
    """Parameters by what merges them."""

    method: int
    """By the recipe's method."""
    other: int
    """By its `other` method."""
    rules: int
    """By another method, from a `tensors:` rule."""
    copied: int
    """The base's own."""

    def to_json(self) -> dict[str, int]:
        """The counts as plain JSON values."""
        return asdict(self)


def shares_of(plan: Plan) -> Shares:
    """Count the parameters of a plan."""
    method, other = plan.recipe.method.name, other_of(plan.recipe).name

    def count(tasks: Iterable[TensorTask]) -> int:
        return sum(task.base.elements for task in tasks)

    merged = [task for task in plan.tasks if task.method is not None]
    by_method = count(task for task in merged if task.method_name == method)
    by_other = count(task for task in merged if task.method_name == other != method)
    return Shares(by_method, by_other, count(merged) - by_method - by_other, count(plan.tasks) - count(merged))
