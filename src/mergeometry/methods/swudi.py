"""SWUDI: WUDI's equations solved only in the directions that the task vectors determine well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.row_moments import in_row_span, normal_equations, norms, out_of_row_span
from mergeometry.linalg.svd import RANK_TOLERANCE, symmetric_eigen
from mergeometry.methods.base import Sizes, Spectral, Work, parameters, regression_on_rows
from mergeometry.products import product
from mergeometry.values import Delta

_TIED = 1e-9
"""Relative difference below which eigenvalues count as tied: they are all kept."""


@parameters
class SWUDI(Spectral):
    """Minimise `wudi`'s interference along the strongest input directions, and leave the sum as it is in the others.

    Law: with ``G = sum_t G_t = V diag(lambda) V^T`` and ``tau*`` the exact minimiser of `wudi`,
    ``tau = tau_0 + (tau* - tau_0) V diag(f) V^T`` from ``tau_0 = sum_t tau_t``. ``f`` is zero but for the ``keep``
    largest eigenvalues (a share of the inputs, rounded up). There ``filter: exponential`` is
    ``1 - exp(-time * lambda)``, where gradient descent from ``tau_0`` is after that time, and ``filter: none`` is one.

    The defaults are the paper's SWUDI. Its SWUDI-A is ``{keep: auto, filter: none}``: per matrix
    ``(sum sqrt(lambda))^2 / sum lambda`` directions, which leaves nothing to choose.
    """

    source: ClassVar[str] = (
        "Wei et al. 2026, Closed-form spectral regularization for multi-task model merging, arXiv 2606.07289; "
        "as the authors' code has it (github.com/WalkerWorldPeace/MLLMerging)"
    )

    keep: Annotated[
        Annotated[float, Field(gt=0, le=1)] | Literal["auto"],
        Field(description="share of the input directions that are solved for, or auto: as many as the spectrum shows"),
    ] = 0.65
    filter: Annotated[
        Literal["exponential", "none"], Field(description="how far the directions that are kept are solved for")
    ] = "exponential"
    time: Annotated[
        float, Field(gt=0, description="how long gradient descent would run, for exponential; eigenvalues add up to T")
    ] = 1300.0

    @property
    def equal_models(self) -> Literal["same"] | None:
        """Only where every direction is solved for: in the others, equal task vectors add up."""
        return "same" if self.keep == 1 and self.filter == "none" else None

    def extra_cost(self, sizes: Sizes) -> Work:
        """The normal equations of the input side with all their eigenvectors, and the sum to start from."""
        m, n = sizes.shape
        side = n if sizes.dense else min(n, sum(rank or 0 for rank in sizes.ranks))
        return regression_on_rows(sizes) + Work(4.0 * m * side * side, 16 * side * (m + side))

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Solve along the leading eigenvectors; for adapters, in the span of their rows."""
        rows, basis = in_row_span(deltas)
        target, gram = normal_equations(rows, norms(rows))
        start = rows[0].double()
        for more in rows[1:]:
            start = start + more
        values, vectors = symmetric_eigen(gram, len(gram))
        count = self.count(values, deltas[0].shape[1])
        values, vectors = values[:count], vectors[:, :count]
        gain = (product(target, vectors) / values - product(start, vectors)) * self.share(values)
        return out_of_row_span(start + product(gain, vectors.mT), basis, deltas)

    def count(self, values: Float[Tensor, " q"], inputs: int) -> int:
        """How many of these eigenvalues, descending, are solved for; zero ones never are."""
        held = values[values > RANK_TOLERANCE**2 * values[:1]]
        if len(held) == 0:
            return 0
        if self.keep == "auto":
            roots = float(held.sqrt().sum())
            wanted = math.ceil(roots**2 / float(held.sum()) * (1 - _TIED))
        else:
            wanted = math.ceil(inputs * self.keep * (1 - _TIED))
        last = held[min(len(held), max(1, wanted)) - 1]
        return int((held >= last * (1 - _TIED)).sum())

    def share(self, values: Float[Tensor, " k"]) -> Float[Tensor, " k"] | float:
        """How far the way from the sum to the minimiser is gone along eigenvectors of these eigenvalues."""
        return -(-self.time * values).expm1() if self.filter == "exponential" else 1.0
