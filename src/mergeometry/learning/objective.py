"""The objective of one forward pass: every term of every task, weighted so that passes of a step simply add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.encoders.heads import Head
from mergeometry.learning.losses import alignment, class_sums, distillation, hidden_matching, prediction_entropy
from mergeometry.learning.rotation import TaskRotation
from mergeometry.recipe.adapt import LossWeights


@dataclass(frozen=True, slots=True, eq=False)
class TaskTerms:
    """What the objective of one task compares features with."""

    head: Head | None
    prototypes: Float[Tensor, "d c"] | None
    teacher: Head | None
    """The head that the expert's features go through; the task's own, or an expert's output layer."""
    energy: float | None = None
    """Mean squared length of the expert's features over all of the task's inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The value of a pass's objective, its terms by task, and what its features add to the class means."""

    loss: Tensor
    terms: Mapping[tuple[int, str], float]
    sums: Mapping[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """Weighted sum of the terms, a mean over tasks of means over each task's rows of a step."""

    weights: LossWeights
    temperature: float = 1.0

    def measure(
        self,
        features: Float[Tensor, "rows d"],
        owners: Sequence[int],
        teachers: Mapping[int, Float[Tensor, "own d"]],
        terms: Sequence[TaskTerms],
        rotations: Sequence[TaskRotation | None],
        totals: Sequence[int],
        heads: Sequence[Head | None],
    ) -> Measured:
        """Objective of a pass; ``owners`` is each row's task, ``totals`` each task's rows in the whole step.

        ``heads`` are the heads under the present weights, for models whose output layer is merged as well.
        """
        owner = torch.tensor(owners, device=features.device)
        loss, values, sums = features.sum() * 0.0, {}, {}
        for task in sorted(set(owners)):
            own = features[owner == task]
            rotation = rotations[task]
            turned = own if rotation is None else rotation(own)
            found = self._terms(turned, own, terms[task], heads[task], teachers.get(task))
            share = len(own) / totals[task]
            for name, (weight, value) in found.items():
                loss = loss + weight * share / len(totals) * value
                values[task, name] = float(value.detach()) * share
            if self.weights.beta and (head := heads[task]) is not None:
                sums[task] = class_sums(own.detach(), head.predict(turned.detach()), len(head.bias))
        return Measured(loss, values, sums)

    def _terms(
        self,
        turned: Float[Tensor, "n d"],
        own: Float[Tensor, "n d"],
        task: TaskTerms,
        head: Head | None,
        teacher: Float[Tensor, "n d"] | None,
    ) -> dict[str, tuple[float, Tensor]]:
        found: dict[str, tuple[float, Tensor]] = {}
        weights = self.weights
        logits = None if head is None else head.logits(turned)
        if weights.entropy:
            assert logits is not None
            found["entropy"] = (weights.entropy, prediction_entropy(logits))
        if weights.alpha:
            assert logits is not None and task.prototypes is not None
            found["align"] = (weights.alpha, alignment(turned, logits.detach().argmax(dim=1), task.prototypes))
        if weights.distill and logits is not None:
            assert teacher is not None and task.teacher is not None
            found["distill"] = (weights.distill, distillation(logits, task.teacher.logits(teacher), self.temperature))
        if weights.hidden:
            assert teacher is not None
            found["hidden"] = (weights.hidden, hidden_matching(turned, teacher, energy=task.energy))
        return found
