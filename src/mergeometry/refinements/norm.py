"""Norm scaling: a merged matrix with the norm of the task vectors that it combines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.linalg.norms import frobenius
from mergeometry.methods.base import parameters, weighed
from mergeometry.refinements.base import Refinement, same_shape
from mergeometry.values import Delta

_CANCELLED = 1e-12
"""Share of the task vectors' norms below which a merged matrix is rounding error, with no direction to keep."""


@parameters
class Norm(Refinement):
    """Give the merged matrix, layer by layer, the norm that its task vectors have.

    Law: ``tau' = factor * (target / ||tau||) tau`` in Frobenius norms. ``target: mean`` is the mean of ``||tau_t||``
    over the tasks that changed the matrix; ``root_sum_square`` is ``sqrt(sum_t ||tau_t||^2)``, the norm of the sum
    if no two task vectors overlapped. A merged matrix of zeros stays zero.
    """

    source: ClassVar[str] = "Li et al. 2025, MAGIC, arXiv 2512.19320, weight space calibration (target: mean)"

    target: Annotated[
        Literal["mean", "root_sum_square"], Field(description="which norm of the task vectors is matched")
    ] = "mean"
    factor: Annotated[float, Field(gt=0, description="what the norm is multiplied by")] = 1.0

    def apply(self, merged: Delta, deltas: Sequence[Delta]) -> Delta:
        """Measure the task vectors and the merged matrix, and rescale."""
        norms = [norm for norm in (frobenius(same_shape(delta, merged)) for delta in deltas) if norm > 0]
        size = frobenius(merged)
        if size <= _CANCELLED * sum(norms):
            return merged
        wanted = math.fsum(norms) / len(norms) if self.target == "mean" else math.hypot(*norms)
        return weighed(merged, self.factor * wanted / size)
