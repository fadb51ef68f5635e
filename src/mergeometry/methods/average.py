"""Model soups: the mean of the models, or their weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.base import (
    Accumulator,
    Linear,
    Piecewise,
    Sizes,
    Sum,
    WeightedSum,
    Work,
    parameters,
)
from mergeometry.values import Delta


@parameters
class Average(Linear):
    """Mean of the models' weights, or their weighted sum.

    Law: ``W = sum_t w_t W_t / sum_t w_t``, which is ``tau = sum_t w_t tau_t / sum_t w_t`` at scale 1. With
    ``normalize: false``, ``W = sum_t w_t W_t``, which is ``tau = sum_t w_t tau_t + (sum_t w_t - 1) W_0``.
    """

    source: ClassVar[str] = "Wortsman et al. 2022, Model soups, arXiv 2203.05482"
    weights_are_shares: ClassVar[bool] = True

    normalize: Annotated[bool, Field(description="divide by the sum of the weights")] = True

    def __post_init__(self) -> None:
        """A sum that is not divided depends on the base, which belongs to no task."""
        for name in ("weights_are_shares", "has_parts"):
            object.__setattr__(self, name, self.normalize)
        object.__setattr__(self, "needs_base", not self.normalize)

    @property
    def equal_models(self) -> Literal["same"] | None:
        """The mean of equal models is that model."""
        return "same" if self.normalize else None

    @property
    def homogeneous(self) -> bool:
        """The base's own part does not scale with the task vectors."""
        return self.normalize

    @property
    def stays_low_rank(self) -> bool:
        """The base's weights have full rank."""
        return self.normalize

    def extra_cost(self, sizes: Sizes) -> Work:
        """The base's own part, where the sum starts from it."""
        return Work(0.0, 0 if self.normalize else sizes.piece)

    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """Each task's share of the sum of weights."""
        total = sum(weights) if self.normalize else 1.0
        return [weight / total for weight in weights]

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Add the task vectors, each times its coefficient, and start from the base's own part where it has one.

        Raises:
            ValueError: the base's weights are needed and not given.
        """
        if self.normalize:
            return super().begin(weights)
        if base is None:
            raise ValueError("Average(normalize=False) needs the base's weights: call method(deltas, base=weights)")
        return WeightedSum(self.coefficients(weights), start=base * (sum(weights) - 1))

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of the task vectors to the base's own part."""
        if self.normalize:
            return super().piecewise(weights, shape)
        return Sum(self.coefficients(weights), base_share=sum(weights) - 1)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task vector times its share of the sum of weights."""
        if not self.normalize:
            raise ValueError("Average(normalize=False) adds a part of the base, so there are no coefficients to learn")
        return super().parts(deltas, weights)
