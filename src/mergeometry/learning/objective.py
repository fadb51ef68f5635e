"""The objective of one forward pass: every term of every task, weighted so that the passes of a step add up."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.encoders.batches import Chosen
from mergeometry.encoders.heads import Head
from mergeometry.learning.losses import (
    alignment,
    class_means,
    class_sums,
    distillation,
    hidden_matching,
    logits_matching,
    prediction_entropy,
)
from mergeometry.learning.rotation import FullRotation, SubspaceRotation, TaskRotation
from mergeometry.linalg.rotations import span_basis
from mergeometry.linalg.svd import thin_svd
from mergeometry.recipe.adapt import CoefficientsFrom, LossWeights

AGREEMENT = "agreement"
"""The term, without weight, that a check adds: the share of rows on which merge and expert predict the same."""

LEADING = 64
"""Principal directions of features in which a language model's rotation acts: it has no classes to span them."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskTerms:
    """What the objective of one task compares its features with."""

    head: Head | None
    prototypes: Float[Tensor, "d c"] | None
    teacher: Head | None
    """The head for the expert's features: the task's own, or the expert's output layer."""
    energy: float | None = None
    """Mean squared length of the expert's features over all of the task's inputs."""
    spread: float | None = None
    """Mean squared distance of the expert's logits from their mean, over the same inputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The value of a pass's objective, its terms by task, and what its features add to the class means."""

    loss: Tensor
    terms: Mapping[tuple[int, str], float]
    sums: Mapping[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """Weighted sum of the terms, averaged over each task's rows of a step and then over tasks."""

    weights: LossWeights
    temperature: float = 1.0
    coefficients_from: CoefficientsFrom = "all"
    """Which terms the coefficients learn from. With ``entropy``, that term moves nothing but them, and the others move
    nothing but the rotations."""

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
        """The objective of a pass; ``owners`` is each row's task, ``totals`` each task's row count in the whole step.

        ``heads`` are the heads under the current weights, for models whose output layer is merged too.
        """
        owner = torch.tensor(owners, device=features.device)
        loss, values, sums = features.sum() * 0.0, {}, {}
        for task in sorted(set(owners)):
            task_features = features[owner == task]
            rotation = rotations[task]
            turned, logits = _turned(rotation, task_features), None
            head = heads[task]
            if self.coefficients_from == "entropy":
                assert rotation is not None and head is not None
                logits = head.logits(_turned(rotation, task_features, still=True))
                turned = _turned(rotation, task_features.detach())
                head = Head(head.weight.detach(), head.bias.detach())
            task_terms = self._terms(turned, terms[task], head, teachers.get(task), logits)
            share = len(task_features) / totals[task]
            for name, (weight, value) in task_terms.items():
                loss = loss + weight * share / len(totals) * value
                values[task, name] = float(value.detach()) * share
            if self.weights.beta and (head := heads[task]) is not None:
                sums[task] = class_sums(task_features.detach(), head.predict(turned.detach()), len(head.bias))
        return Measured(loss, values, sums)

    def _terms(
        self,
        turned: Float[Tensor, "n d"],
        task: TaskTerms,
        head: Head | None,
        teacher: Float[Tensor, "n d"] | None,
        of_entropy: Float[Tensor, "n c"] | None = None,
    ) -> dict[str, tuple[float, Tensor]]:
        values: dict[str, tuple[float, Tensor]] = {}
        weights = self.weights
        logits = None if head is None else head.logits(turned)
        if weights.entropy:
            assert logits is not None
            values["entropy"] = (weights.entropy, prediction_entropy(logits if of_entropy is None else of_entropy))
        if weights.alpha:
            assert logits is not None and task.prototypes is not None
            values["align"] = (weights.alpha, alignment(turned, logits.detach().argmax(dim=1), task.prototypes))
        if weights.distill and logits is not None:
            assert teacher is not None and task.teacher is not None
            values["distill"] = (weights.distill, distillation(logits, task.teacher.logits(teacher), self.temperature))
        if weights.hidden:
            assert teacher is not None
            values["hidden"] = (weights.hidden, hidden_matching(turned, teacher, energy=task.energy))
        if weights.logits and logits is not None:
            assert teacher is not None and task.teacher is not None
            values["logits"] = (weights.logits, logits_matching(logits, task.teacher.logits(teacher), task.spread))
        if not torch.is_grad_enabled() and logits is not None and teacher is not None and task.teacher is not None:
            values[AGREEMENT] = (0.0, (logits.argmax(dim=1) == task.teacher.predict(teacher)).float().mean())
        return values


def _turned(
    rotation: TaskRotation | None, features: Float[Tensor, "n d"], *, still: bool = False
) -> Float[Tensor, "n d"]:
    """Features turned by a rotation, which has no gradient where it is to stay ``still``."""
    if rotation is None:
        return features
    if not still:
        return rotation(features)
    fixed = copy.copy(rotation)
    with fixed.held(rotation.turn().detach()):
        return fixed(features)


@dataclass(slots=True)
class Sum:
    """The sum of the passes of one step; tensors in float64, since gradients of single passes nearly cancel."""

    loss: float = 0.0
    terms: dict[tuple[int, str], float] = field(default_factory=dict)
    coefficients: dict[str, Tensor] = field(default_factory=dict)
    turns: dict[int, Tensor] = field(default_factory=dict)
    sums: dict[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]] = field(default_factory=dict)
    inputs: dict[Chosen, tuple[float, float]] = field(default_factory=dict)
    """Where no gradient is taken, the objective of each input and the share of its rows that do not agree."""

    def add_sums(self, sums: Mapping[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]]) -> None:
        """Add what a pass's features add to the class means."""
        for task, (total, count) in sums.items():
            before = self.sums.get(task)
            self.sums[task] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def add_values(self, loss: float, terms: Mapping[tuple[int, str], float]) -> None:
        """Add a pass's objective and its terms."""
        self.loss += loss
        for key, value in terms.items():
            self.terms[key] = self.terms.get(key, 0.0) + value

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, each under a unique name."""
        named = {f"coefficients/{name}": value for name, value in self.coefficients.items()}
        named |= {f"turn/{task}": value for task, value in self.turns.items()}
        for task, (total, count) in self.sums.items():
            named |= {f"sum/{task}": total, f"count/{task}": count}
        return named

    def take(self, named: Mapping[str, Tensor]) -> None:
        """Replace all tensors by those given under the names of `tensors`."""
        split = {kind: {} for kind in ("coefficients", "turn", "sum", "count")}
        for name, value in named.items():
            kind, _, rest = name.partition("/")
            split[kind][rest] = value
        self.coefficients = {name: value.float() for name, value in split["coefficients"].items()}
        self.turns = {int(task): value for task, value in split["turn"].items()}
        self.sums = {int(task): (v.float(), split["count"][task].long()) for task, v in split["sum"].items()}


def task_rotation(kind: str, features: Float[Tensor, "n d"], terms: TaskTerms) -> tuple[TaskRotation, str | None]:
    """A task's rotation of all dimensions, or of those that prototypes and means of predicted classes span."""
    if kind == "full":
        return FullRotation(features.shape[1]), None
    assert terms.head is not None and terms.prototypes is not None
    predicted = terms.head.predict(features)
    means, _ = class_means(features, predicted, len(terms.head.bias))
    basis = span_basis(torch.cat([terms.prototypes.to(means), means], dim=1))
    if 2 * basis.shape[1] >= features.shape[1]:
        return SubspaceRotation(basis), (
            f"prototypes and class means span {basis.shape[1]} of {features.shape[1]} dimensions: "
            "rotation: subspace saves little here"
        )
    return SubspaceRotation(basis), None


def feature_rotation(kind: str, features: Float[Tensor, "n d"]) -> TaskRotation:
    """A language model's single rotation of all dimensions, or of the leading principal directions of its features."""
    if kind == "full":
        return FullRotation(features.shape[1])
    _, _, right = thin_svd(features.cpu())
    return SubspaceRotation(right[:, :LEADING].to(features.device))
