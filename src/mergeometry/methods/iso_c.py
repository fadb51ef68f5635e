"""Iso-C: the sum of task vectors with a flat spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.linalg.whitening import isotropic
from mergeometry.methods.base import Spectral, parameters
from mergeometry.values import Delta, sum_of


@parameters
class IsoC(Spectral):
    """Sum the task vectors and give every direction of the sum the same strength.

    Law: ``sum_t tau_t = P D Q^T``, ``tau = mean(D) P Q^T``. Directions of zero singular value are left
    out of both, so a sum of adapters keeps its low rank.
    """

    source: ClassVar[str] = "Marczak et al. 2025, No task left behind, arXiv 2502.04959"

    @property
    def equal_models(self) -> Literal["sum"]:
        """The directions stay, and the mean singular value is N times as large."""
        return "sum"

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Sum, then flatten the spectrum."""
        return isotropic(sum_of(deltas))
