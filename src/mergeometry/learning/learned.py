"""A merge method with learned coefficients, which writes the result tensor by tensor as any method does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.learnable import Thin, learnable_of
from mergeometry.methods.base import Accumulator, Method, Sizes, Work
from mergeometry.plan.plan import Plan
from mergeometry.plan.tasks import TensorTask
from mergeometry.values import Delta, LowRank


@dataclass(frozen=True)
class LearnedMethod(Method):
    """The parts of ``start``, combined with learned coefficients instead of one scale.

    Law: ``tau = sum_t lambda_t parts_t``, or with one coefficient per direction or pair of directions.
    """

    source: ClassVar[str] = "MDA, arXiv 2512.00391, section 4.2, Algorithm 2; AdaMerging, arXiv 2310.02575"

    start: Method
    granularity: str
    coefficients: Float[Tensor, "..."] = field(repr=False)

    @property
    def uses_base(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the start method asks for the base's weights."""
        return self.start.uses_base

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse whatever the start method refuses."""
        self.start.check(tasks, shape, weights)

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Split the merge into parts as learning does, and combine them with the coefficients."""
        return _Combined(self.start.begin_parts(weights, base), self.coefficients)

    def cost(self, sizes: Sizes) -> Work:
        """The start method's cost, plus every task's part next to the merge where the parts are dense."""
        dense = 0 if self.part_ranks(sizes) is not None else 2 * sizes.tasks + 1
        return self.start.cost(sizes) + Work(0.0, dense * sizes.piece)

    def part_ranks(self, sizes: Sizes) -> list[int] | None:
        """The ranks of the start method's parts."""
        return self.start.part_ranks(sizes)

    def described(self) -> dict[str, Any]:
        """The start method's parameters, and the granularity of the coefficients."""
        return {**self.start.described(), "learned": self.granularity}


class _Combined(Accumulator[Delta]):
    """Collects the parts of a merge and sums them with coefficients; the result is low-rank if all task vectors are."""

    def __init__(self, parts: Accumulator[list[Delta]], coefficients: Float[Tensor, "..."]) -> None:
        self._parts, self._coefficients = parts, coefficients
        self._thin = True

    def take(self, index: int, delta: Delta) -> None:
        self._thin &= isinstance(delta, LowRank)
        self._parts.take(index, delta)

    def result(self) -> Delta:
        learnable = learnable_of(self._parts.result())
        if self._thin and isinstance(learnable, Thin):
            return learnable.low_rank(self._coefficients)
        return learnable.update(self._coefficients)

    @property
    def held(self) -> Sequence[Delta]:
        return self._parts.held


def learned_plan(plan: Plan, table: CoefficientTable, doubles: Mapping[str, str]) -> Plan:
    """The plan with every merged tensor's method and scale replaced by what was learned.

    ``doubles`` maps each duplicate to the tensor that represents it; both are computed from that tensor's inputs.
    """
    tasks = {task.name: _learned(task, table) for task in plan.tasks if task.name not in doubles}
    for task in plan.tasks:
        first = doubles.get(task.name)
        if first is not None:
            tasks[task.name] = replace(tasks[first], name=task.name, outputs=task.outputs, equal=task.equal)
    return replace(plan, tasks=tuple(tasks[task.name] for task in plan.tasks))


def _learned(task: TensorTask, table: CoefficientTable) -> TensorTask:
    if task.method is None:
        return task
    coefficients = table.of(task.name).detach().cpu().clone().to(torch.float32)
    return replace(task, method=LearnedMethod(task.method, table.granularity, coefficients), scale=1.0, scaling=None)


def start_of(plan: Plan) -> Mapping[str, float]:
    """The value that each tensor's coefficients start from: the scale that the recipe gives the tensor."""
    return {task.name: task.scale for task in plan.tasks if task.method is not None}
