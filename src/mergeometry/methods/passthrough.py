"""Passthrough: one model, copied or multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.base import Accumulator, Linear, Piecewise, Sizes, Sum, WeightedSum, Work, parameters
from mergeometry.values import Delta


@parameters
class Passthrough(Linear):
    """Copy the weights of one model, times a number; a stack of layers makes it a self-merge.

    Law: ``W = s (W_0 + tau)``, which is ``tau' = s tau + (s - 1) W_0`` at scale 1. Where the recipe names no base, the
    model is its own, and at ``s = 1`` every tensor is copied bit by bit.
    """

    source: ClassVar[str] = "Kim et al. 2023, SOLAR 10.7B: depth up-scaling, arXiv 2312.15166; mergekit's passthrough"

    scale: Annotated[float, Field(description="what the weights are multiplied by; 0 empties a tensor")] = 1.0

    def __post_init__(self) -> None:
        """Multiplied weights depend on the base, which belongs to no task."""
        object.__setattr__(self, "has_parts", self.copies)
        object.__setattr__(self, "needs_base", not self.copies)

    @property
    def copies(self) -> bool:
        """A model times one is that model."""
        return self.scale == 1.0

    @property
    def homogeneous(self) -> bool:
        """The base's own part does not scale with the task vectors."""
        return self.copies

    @property
    def stays_low_rank(self) -> bool:
        """The base's weights have full rank."""
        return self.copies

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse several models, and a weight in place of ``scale``."""
        super().check(tasks, shape, weights)
        if tasks != 1:
            raise ValueError(f"passthrough copies one model, got {tasks}")
        if weights[0] != 1.0:
            raise ValueError(f"passthrough multiplies a model by its `scale`, not by a weight, got {weights[0]}")

    def extra_cost(self, sizes: Sizes) -> Work:
        """The base's own part, where the sum starts from it."""
        return Work(0.0, 0 if self.copies else sizes.piece)

    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """The scale."""
        return [self.scale] * len(weights)

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Take the task vector times the scale, and start from the base's own part where it has one.

        Raises:
            ValueError: the base's weights are needed and not given.
        """
        if self.copies:
            return super().begin(weights)
        if base is None:
            raise ValueError("Passthrough(scale=...) needs the base's weights: call method(deltas, base=weights)")
        return WeightedSum(self.coefficients(weights), start=base * (self.scale - 1))

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of the task vector to the base's own part."""
        if self.copies:
            return super().piecewise(weights, shape)
        return Sum(self.coefficients(weights), base_share=self.scale - 1)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The task vector itself."""
        if not self.copies:
            raise ValueError("Passthrough(scale=...) adds a part of the base, so there are no coefficients to learn")
        return super().parts(deltas, weights)
