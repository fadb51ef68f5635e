"""The interface through which learning runs a model: inputs with sizes, batches, and features under given weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Inputs:
    """One task's inputs, ready to be batched.

    ``sizes`` is the cost of each input (its tokens, or 1), ``rows`` the number of features that it gives (1, or one
    per predicted token).
    """

    items: Sequence[Any]
    sizes: tuple[int, ...]
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of one forward pass in the form the model takes; ``rows[i]`` features belong to input i."""

    arguments: Mapping[str, Any]
    rows: tuple[int, ...]
    extra: Mapping[str, Tensor] = field(default_factory=dict)


Features = Float[Tensor, "rows d"]


class Encoder(ABC):
    """A model that computes features of ``width`` numbers under the weights it is given.

    ``module`` holds the base's weights, which never change. ``names`` maps the names on disk to the parameters of
    ``module``, or to None for a tensor that the forward pass does not use.
    """

    module: nn.Module
    names: Mapping[str, str | None]
    doubles: Mapping[str, str] = MappingProxyType({})
    """Tensors on disk that duplicate another tensor, each with the name of that other: both are written alike."""
    width: int
    budget: int
    """Sum of sizes that one forward pass should not exceed."""
    language_model: bool = False
    """Whether each feature belongs to a token, and the head is the model's own output layer."""

    @abstractmethod
    def prepare(self, data: Any) -> Inputs:
        """Turn a task's data into inputs: tokens, or images still to be decoded.

        Raises:
            DataError: the data are not of the kind that the model takes.
        """

    @abstractmethod
    def batch(self, items: Sequence[Any]) -> Batch:
        """Assemble a few items into one forward pass."""

    @abstractmethod
    def features(self, module: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Features:
        """Features of a batch, item by item, under ``weights`` by parameter name; the base's serve for the others."""

    def copies(self, count: int) -> list[nn.Module]:
        """Modules that share every weight: running one under other weights does not disturb the rest."""
        shared = [*self.module.parameters(), *self.module.buffers()]
        modules = []
        for _ in range(count):
            modules.append(copy.deepcopy(self.module, memo={id(tensor): tensor for tensor in shared}))
        return modules

    def base(self, name: str) -> Tensor:
        """The base's own weight of a parameter."""
        return self.module.get_parameter(name)

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.module.parameters()).device


def pooled(hidden: Float[Tensor, "b s d"], mask: Int[Tensor, "b s"] | None, pooling: str) -> Float[Tensor, "b d"]:
    """One feature per sequence: the mean over its tokens, its first token or its last."""
    if pooling == "first":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1) if pooling == "mean" else hidden[:, -1]
    if pooling == "last":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return hidden[torch.arange(len(hidden)), last]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
