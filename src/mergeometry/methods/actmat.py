"""ACTMat: RegMean with each layer's inputs estimated from the task vector itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.row_moments import in_row_span, normal_equations, norms, out_of_row_span
from mergeometry.methods.base import Sizes, Spectral, Work, parameters, regression_on_rows
from mergeometry.values import Delta


@parameters
class ACTMat(Spectral):
    """Estimate what each layer's inputs look like from the update they caused, and regress as RegMean does.

    Law: ``tau = (sum_t tau_t C_t)(sum_t C_t)^+`` with ``C_t = tau_t^T tau_t``, which minimises
    ``sum_t tr((tau - tau_t) C_t (tau - tau_t)^T)``; of several minimisers, the smallest. `wudi` is the same with
    ``C_t / tr(C_t)``: here a task counts by the square of its update's size.
    """

    source: ClassVar[str] = (
        "Gamal Abdel Hameed et al. 2026, Model merging via data-free covariance estimation, arXiv 2604.01329; "
        "as the authors' code has it (github.com/marawangamal/actmat, src/merging.py)"
    )

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal task vectors do not conflict."""
        return "same"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The normal equations of the input side, and their solution."""
        return regression_on_rows(sizes)

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Solve the normal equations; for adapters, in the span of their rows."""
        rows, basis = in_row_span(deltas)
        # One size for all cancels; it keeps the squares in float64's range.
        size = max(norms(rows))
        return out_of_row_span(solve_gram(*normal_equations(rows, [size] * len(rows))), basis, deltas)
