"""Task arithmetic: the sum of task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.methods.base import Linear, parameters


@parameters
class TaskArithmetic(Linear):
    """Sum of the task vectors, which the recipe's ``scale`` multiplies.

    Law: ``tau = sum_t w_t tau_t``.
    """

    source: ClassVar[str] = "Ilharco et al. 2023, Editing models with task arithmetic, arXiv 2212.04089"

    @property
    def equal_models(self) -> Literal["sum"]:
        """The sum of N equal task vectors."""
        return "sum"

    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """Each task's weight as it is."""
        return list(weights)
