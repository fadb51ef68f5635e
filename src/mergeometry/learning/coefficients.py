"""Merging coefficients: which of them share one parameter, and how each tensor's coefficients follow from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.learning.learnable import Dense, Learnable, Thin
from mergeometry.recipe.adapt import Granularity, LearningSettings

_DISTILLED = {
    "task": 0.03, "layer": 0.03, "shared-layer": 0.03, "tensor": 0.03, "direction": 0.05, "pair": 0.01, "fixed": 0.01,
}  # fmt: skip
"""Learning rates where the recipe gives none, chosen on the suite's validation texts (docs/learning.md); that of
``shared-layer`` is ``layer``'s."""
_OF_LOGITS = 0.3
"""What becomes of these rates where only predictions are compared: larger steps then lose what the start has."""
_PREDICTED = 1e-3
"""The rate of the papers (AdaMerging, MDA): with larger steps, the entropy of predictions misleads."""

_ROTATION = 1e-3

_LAYER = re.compile(r"^(.*?\.\d+)\.|^(.*)\.[^.]+\.[^.]+$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor's coefficients come from: a parameter's key, and whether its value per task is spread."""

    key: str
    spread: bool


class CoefficientTable:
    """Learned parameters by key, and the coefficients of tensors that follow from them.

    | granularity | one parameter per          | its shape           |
    | ----------- | -------------------------- | ------------------- |
    | task        | task                       | (T,)                |
    | layer       | task and layer             | (T,)                |
    | shared-layer| layer                      | (1,)                |
    | tensor      | task and tensor            | (T,)                |
    | direction   | direction of a tensor      | (R,), or (T,) dense |
    | pair        | pair of directions         | (R, R), or (T,) dense |
    """

    def __init__(self, granularity: Granularity, tensors: Mapping[str, Learnable], start: Mapping[str, float]) -> None:
        self._tensors, self._start = tensors, start
        self.parameters: dict[str, Float[Tensor, "..."]] = {}
        self.become(granularity)

    def become(self, granularity: Granularity) -> None:
        """Take coefficients of this granularity, all at the start."""
        device = next((value.device for value in self.parameters.values()), None)
        self.granularity: Granularity = granularity
        self._places: dict[str, Place] = {}
        self._owners = {name: tensor.owner for name, tensor in self._tensors.items()}
        if granularity == "shared-layer":
            # All tasks have the only number.
            self._owners = {name: torch.zeros_like(owner) for name, owner in self._owners.items()}
        self.parameters = {}
        for name, tensor in self._tensors.items():
            place, value = _place(granularity, name, tensor, self._start[name])
            self._places[name] = place
            self.parameters.setdefault(place.key, value if device is None else value.to(device))

    def refine(self, granularity: Granularity) -> None:
        """Take finer coefficients, a tensor's own, that merge to the same as the current ones."""
        current = {name: (self.of(name), self.parameters[place.key]) for name, place in self._places.items()}
        self.become(granularity)
        for name, (spread, shared) in current.items():
            value = self.parameters[self._places[name].key]
            if value.ndim == 2:
                value.copy_(spread if spread.ndim == 2 else torch.diag(spread))
            else:
                value.copy_(spread if value.shape == spread.shape else shared)

    @property
    def count(self) -> int:
        """The count of learned numbers."""
        return sum(value.numel() for value in self.parameters.values())

    @property
    def widest(self) -> int:
        """The most directions of a tensor, all tasks' together; 0 where all are dense."""
        return max((sum(one.counts) for one in self._tensors.values() if isinstance(one, Thin)), default=0)

    def of(self, name: str) -> Float[Tensor, "..."]:
        """The coefficients of one tensor: one per direction, per task, or per pair of directions."""
        place = self._places[name]
        value = self.parameters[place.key].detach()
        return value[self._owners[name].to(value.device)] if place.spread else value

    def gather(self, gradients: Mapping[str, Float[Tensor, "..."]]) -> dict[str, Float[Tensor, "..."]]:
        """Gradients of the parameters from those of the tensors' coefficients, added in the order of the tensors."""
        total = {key: torch.zeros_like(value) for key, value in self.parameters.items()}
        for name, place in self._places.items():
            if name not in gradients:
                continue
            if place.spread:
                owner = self._owners[name].to(gradients[name].device)
                member = torch.nn.functional.one_hot(owner, total[place.key].shape[0]).to(gradients[name].dtype)
                total[place.key] += gradients[name] @ member
            else:
                total[place.key] += gradients[name]
        return total


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to: its name up to the first number, or its module's parent."""
    match = _LAYER.match(name)
    if match is None:
        return name.rpartition(".")[0] or name
    return match.group(1) or match.group(2)


def _place(granularity: Granularity, name: str, tensor: Learnable, start: float) -> tuple[Place, Tensor]:
    tasks = len(tensor.counts)
    if granularity in ("tensor", "fixed"):
        return Place(name, True), torch.full((tasks,), start)
    if granularity in ("task", "layer", "shared-layer"):
        key = "all" if granularity == "task" else layer_of(name)
        numbers = 1 if granularity == "shared-layer" else tasks
        # A tensor with its own scale cannot share a parameter with the others.
        return Place(f"{key}@{start!r}", True), torch.full((numbers,), start)
    if isinstance(tensor, Dense):
        return Place(name, False), torch.full((tasks,), start)
    assert isinstance(tensor, Thin)
    count = sum(tensor.counts)
    if granularity == "direction":
        return Place(name, False), torch.full((count,), start)
    return Place(name, False), torch.eye(count) * start


def rates_of(section: LearningSettings) -> tuple[float, float]:
    """Adam's rates for coefficients and for rotations."""
    distilled = section.weights.entropy == 0
    # The stages of `auto` have rates of their own; the rotation's is the same throughout.
    default = _DISTILLED.get(section.coefficients, _PREDICTED) if distilled else _PREDICTED
    if distilled and section.weights.needs_experts and not section.weights.hidden:
        default *= _OF_LOGITS
    return section.learning_rate or default, section.rotation_learning_rate or _ROTATION
