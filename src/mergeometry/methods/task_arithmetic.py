"""Task arithmetic: the sum of task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.methods.base import Linear, parameters, shares


@parameters
class TaskArithmetic(Linear):
    """Sum of the task vectors, which the recipe's ``scale`` multiplies.

    Law: ``tau = sum_t w_t tau_t``; with ``normalize``, divided by ``sum_t w_t``, which is `average`.
    """

    source: ClassVar[str] = "Ilharco et al. 2023, Editing models with task arithmetic, arXiv 2212.04089"

    normalize: Annotated[bool, Field(description="divide by the sum of the weights")] = False

    def __post_init__(self) -> None:
        """Of a mean, weights are shares."""
        object.__setattr__(self, "weights_are_shares", self.normalize)

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """The sum of N equal task vectors, or their mean."""
        return "same" if self.normalize else "sum"

    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """Each task's weight as it is, or its share."""
        return shares(weights, normalize=self.normalize)
