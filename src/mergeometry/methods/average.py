"""Model soups: the mean of the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.methods.base import Linear, check_mean, parameters


@parameters
class Average(Linear):
    """Mean of the models' weights.

    Law: ``W = sum_t w_t W_t / sum_t w_t``, which is ``tau = sum_t w_t tau_t / sum_t w_t`` at scale 1.
    """

    source: ClassVar[str] = "Wortsman et al. 2022, Model soups, arXiv 2203.05482"
    weights_are_shares: ClassVar[bool] = True

    @property
    def equal_models(self) -> Literal["same"]:
        """The mean of equal models is that model."""
        return "same"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that add up to zero."""
        super().check(tasks, shape, weights)
        check_mean(weights)

    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """Each task's share of the sum of weights."""
        total = sum(weights)
        return [weight / total for weight in weights]
