"""One tensor whose merging coefficients are learned: its value, and the gradient of its coefficients.

| form    | holds                            | coefficients             | value                          |
| ------- | -------------------------------- | ------------------------ | ------------------------------ |
| `Thin`  | directions of all tasks          | (R,), or (R, R) in pairs | ``left diag(c values) right.T`` |
| `Dense` | one task vector per task         | (T,)                     | ``sum_t c_t parts_t``          |

Coefficient gradients have a closed form in the gradient of the whole weight, so they need no copy of the weight.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.encoders.contracting import product
from mergeometry.linalg.svd import top_directions
from mergeometry.values import Delta, LowRank

_BLOCK = 1 << 16
"""Entries of a dense tensor that are summed together."""


class Learnable(ABC):
    """The update of one tensor as a function of coefficients; ``counts[t]`` of them belong to task t."""

    counts: tuple[int, ...]
    shape: tuple[int, ...]

    @abstractmethod
    def update(self, coefficients: Float[Tensor, "..."]) -> Float[Tensor, "*shape"]:
        """The merged task vector under these coefficients."""

    @abstractmethod
    def pull_back(self, gradient: Float[Tensor, "*shape"], like: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The gradient of a loss with respect to the coefficients, shaped as ``like``, from that of the tensor."""

    @property
    def owner(self) -> Int[Tensor, " r"]:
        """The task that each coefficient belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts))

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of the parts."""

    @abstractmethod
    def to(self, device: torch.device) -> Learnable:
        """The same tensor on another device."""


@dataclass(frozen=True, slots=True, eq=False)
class Thin(Learnable):
    """Directions of all tasks, task by task, each with its strength at a coefficient of one."""

    left: Float[Tensor, "m r"]
    values: Float[Tensor, " r"]
    right: Float[Tensor, "n r"]
    counts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Shape (m, n) of the tensor."""
        return (self.left.shape[0], self.right.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return sum(factor.numel() * factor.element_size() for factor in (self.left, self.values, self.right))

    def update(self, coefficients: Float[Tensor, "..."]) -> Float[Tensor, "m n"]:
        """``left diag(c * values) right.T``; in pairs, ``left (c * sqrt(values values^T)) right.T``."""
        core = self.core(coefficients)
        return product(self.left * core if core.ndim == 1 else product(self.left, core.mT), self.right)

    def low_rank(self, coefficients: Float[Tensor, "..."]) -> LowRank:
        """The update as thin factors."""
        core = self.core(coefficients)
        return LowRank(self.left, torch.diag(core) if core.ndim == 1 else core, self.right)

    def core(self, coefficients: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The matrix between the factors: its diagonal, or the whole matrix where coefficients belong to pairs."""
        if coefficients.ndim == 1:
            return coefficients * self.values
        roots = self.values.sqrt()
        return coefficients * roots[:, None] * roots

    def pull_back(self, gradient: Float[Tensor, "m n"], like: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """``values * diag(left^T G right)``, or all of ``left^T G right`` for pairs."""
        inner = self.left.mT @ gradient
        if like.ndim == 1:
            return self.values * (inner * self.right.mT).sum(dim=1)
        roots = self.values.sqrt()
        return (inner @ self.right) * roots[:, None] * roots

    def pull_back_factors(
        self, of_left: Float[Tensor, "b r"], of_right: Float[Tensor, "b r"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """As `pull_back` of ``Y^T X``, from ``Y left`` and ``X right``."""
        if like.ndim == 1:
            return self.values * (of_left * of_right).sum(dim=0)
        roots = self.values.sqrt()
        return product(of_left.mT, of_right.mT) * roots[:, None] * roots

    def to(self, device: torch.device) -> Thin:
        """The same tensor on another device."""
        return Thin(self.left.to(device), self.values.to(device), self.right.to(device), self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Learnable):
    """One whole task vector per task, for tensors that are not matrices and methods that keep task vectors whole."""

    parts: tuple[Float[Tensor, "*shape"], ...]

    @property
    def counts(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One coefficient per task."""
        return (1,) * len(self.parts)

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Shape of the tensor."""
        return tuple(self.parts[0].shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the task vectors."""
        return sum(part.numel() * part.element_size() for part in self.parts)

    def update(self, coefficients: Float[Tensor, " t"]) -> Float[Tensor, "*shape"]:
        """``sum_t c_t parts_t``, adding one task vector at a time."""
        total = torch.zeros(self.shape, dtype=coefficients.dtype, device=coefficients.device)
        # Block by block, so that the sum stays in the processor's cache meanwhile.
        blocks = [part.reshape(-1).split(_BLOCK) for part in self.parts]
        for place, block in enumerate(total.view(-1).split(_BLOCK)):
            for part, coefficient in zip(blocks, coefficients.tolist(), strict=True):
                block.add_(part[place], alpha=coefficient)
        return total

    def pull_back(self, gradient: Float[Tensor, "*shape"], like: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
        """``<G, parts_t>`` for each task."""
        flat = gradient.reshape(-1)
        return torch.stack([flat @ part.reshape(-1).to(flat.dtype) for part in self.parts]).to(like.dtype)

    def pull_back_rows(
        self, places: Int[Tensor, " b"], gradients: Float[Tensor, "b n"], like: Float[Tensor, " t"]
    ) -> Float[Tensor, " t"]:
        """As `pull_back` of a matrix whose row ``places[i]`` is the sum of all such ``gradients[i]``."""
        return torch.stack([(gradients * part[places].to(gradients)).sum() for part in self.parts]).to(like.dtype)

    def to(self, device: torch.device) -> Dense:
        """The same tensor on another device."""
        return Dense(tuple(part.to(device) for part in self.parts))


def learnable_of(parts: Sequence[Delta]) -> Learnable:
    """The learnable form of a merge's parts: directions if all parts are low-rank, otherwise whole task vectors."""
    low_rank = [part for part in parts if isinstance(part, LowRank)]
    if len(low_rank) == len(parts):
        tasks = [top_directions(part, part.rank) for part in low_rank]
        return Thin(
            torch.cat([task.left for task in tasks], dim=1).float(),
            torch.cat([task.values for task in tasks]).float(),
            torch.cat([task.right for task in tasks], dim=1).float(),
            tuple(task.count for task in tasks),
        )
    return Dense(tuple(part.dense() if isinstance(part, LowRank) else part.float() for part in parts))
