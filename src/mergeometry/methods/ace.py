"""ACE-Merging: a regression on input covariances that are estimated from the task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.row_moments import in_row_span, norms, out_of_row_span
from mergeometry.linalg.selection import share_of
from mergeometry.linalg.svd import RANK_TOLERANCE, gram, thin_svd
from mergeometry.methods.base import Sizes, Spectral, Work, parameters, regression_on_rows
from mergeometry.products import product
from mergeometry.values import Delta

_TINY = 1e-12
"""What the authors add to divisors."""


@parameters
class ACE(Spectral):
    """Regress on covariances of the task vectors' rows, all alike in size where the updates are not, and refine.

    Law, with ``D_t`` the task vector ``tau_t`` without the mean of its rows and ``n`` inputs:

    1. Heterogeneity: ``g = var_t(log ||tau_t||^2) / mean_t(log ||tau_t||^2)^2``. Above ``threshold`` the updates differ
       in size, and ``C_t = D_t^T D_t / a_t`` and ``e_t = epsilon / a_t`` with ``a_t = ||D_t||^2``; else ``a_t = 1``.
    2. A prior that all share: ``P = 1 c^T``, ``c = C 1 / n`` with ``C = sum_t C_t``, where the updates differ in size
       divided by their mean ``||tau_t||^2``.
    3. ``tau_0 = (sum_t D_t (C_t + e_t I)) (C + sum_t e_t I + P)^{-1}``.
    4. Where the updates differ in size, ``R = tau_0 + sum_t tau_t (C_t - (C + sum_t e_t I) / T)``, and
       ``tau = tau_0 + mean(s) U V^T`` over the leading ``refined`` share of the singular triplets of ``R``.

    The absolute ``epsilon`` makes the merge of small updates their mean. Choices: a task vector whose rows are all
    alike has no covariance and is left out; where all are, the merge is their mean.
    """

    source: ClassVar[str] = (
        "Xu et al. 2026, ACE-Merging, CVPR 2026, arXiv 2603.02945; "
        "as the authors' code has it (github.com/unravel-xu/ACE-Merging, src/merge/strategy.py)"
    )

    epsilon: Annotated[float, Field(gt=0, description="added to each covariance's eigenvalues")] = 1e-2
    threshold: Annotated[
        float, Field(gt=0, description="heterogeneity above which covariances are normalised and the merge refined")
    ] = 0.3
    refined: Annotated[float, Field(gt=0, le=1, description="share of the singular triplets that refine the merge")] = (
        0.3
    )

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal task vectors are alike in size, and every sum of the regression is N times as large."""
        return "same"

    @property
    def homogeneous(self) -> bool:
        """The heterogeneity and `epsilon` depend on the size of the task vectors."""
        return False

    def extra_cost(self, sizes: Sizes) -> Work:
        """The regression, its centred copies, and the decomposition that refines it."""
        m, n = sizes.shape
        side = n if sizes.dense else min(n, sum(rank or 0 for rank in sizes.ranks))
        short = min(m, side)
        work = Work(14.0 * m * side * short + 20.0 * short**3, 16 * side * (m + side))
        return regression_on_rows(sizes) + work

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Regress, and refine where the updates differ in size; adapters, in the span of their rows."""
        rows, basis = in_row_span(deltas)
        n = deltas[0].shape[1]
        ones = torch.ones(n, dtype=torch.float64, device=rows[0].device)
        ones = ones if basis is None else basis.mT @ ones
        traces = [size**2 for size in norms(rows)]
        spreads = [float(_centred(row).square().sum()) for row in rows]
        # What is left of rows that are all alike is rounding.
        held = [place for place in range(len(rows)) if spreads[place] > _TINY * traces[place] > 0]
        if not held:
            mean = sum((row.double() for row in rows[1:]), rows[0].double()) / len(rows)
            return out_of_row_span(mean, basis, deltas)
        differ = self._heterogeneity([traces[place] for place in held]) > self.threshold
        sizes = [spreads[place] + _TINY if differ else 1.0 for place in held]
        kept = [rows[place] for place in held]
        mean_trace = sum(traces[place] for place in held) / len(held) + _TINY
        merged, total = self._regression(kept, sizes, ones / n / (mean_trace if differ else 1.0), ones)
        if differ:
            merged = merged + self._refinement(merged, kept, sizes, total, min(deltas[0].shape))
        return out_of_row_span(merged, basis, deltas)

    def _heterogeneity(self, traces: Sequence[float]) -> float:
        if len(traces) < 2:
            return 0.0
        logs = torch.tensor(traces, dtype=torch.float64).add(_TINY).log()
        return float(logs.var() / (logs.mean().square() + _TINY))

    def _regression(
        self,
        rows: Sequence[Float[Tensor, "m q"]],
        sizes: Sequence[float],
        weights: Float[Tensor, " q"],
        ones: Float[Tensor, " q"],
    ) -> tuple[Float[Tensor, "m q"], Float[Tensor, "q q"]]:
        """Step 3, and ``C + sum_t e_t I``."""
        (m, q), device = rows[0].shape, rows[0].device
        target, total = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((m, q), (q, q)))
        for row, size in zip(rows, sizes, strict=True):
            centred = _centred(row)
            moment = _whole(gram(centred)) / size
            total.add_(moment)
            target.add_(product(centred, moment)).add_(centred, alpha=self.epsilon / size)
        prior = total @ weights
        total.diagonal().add_(sum(self.epsilon / size for size in sizes))
        # (S + 1 c^T)^{-1} by the formula of Sherman and Morrison; c^T S^{-1} 1 is not negative.
        solved = solve_gram(torch.cat([target, prior[None]]), total)
        plain, of_prior = solved[:-1], solved[-1]
        return plain - torch.outer(plain @ ones, of_prior) / (1 + of_prior @ ones), total

    def _refinement(
        self,
        merged: Float[Tensor, "m q"],
        rows: Sequence[Float[Tensor, "m q"]],
        sizes: Sequence[float],
        total: Float[Tensor, "q q"],
        short: int,
    ) -> Float[Tensor, "m q"]:
        """Step 4: what is added to ``tau_0``."""
        residual = merged.clone()
        mean = total / len(rows)
        for row, size in zip(rows, sizes, strict=True):
            residual.add_(product(row.double(), _whole(gram(_centred(row))) / size - mean))
        left, values, right = thin_svd(residual)
        count = min(share_of(short, self.refined), int((values > RANK_TOLERANCE * values[:1]).sum()))
        return float(values[:count].sum()) / max(1, count) * left[:, :count] @ right[:, :count].mT


def _centred(matrix: Float[Tensor, "m q"]) -> Float[Tensor, "m q"]:
    """A matrix without the mean of its rows, in float64."""
    exact = matrix.double()
    return exact - exact.mean(dim=0)


def _whole(upper: Float[Tensor, "q q"]) -> Float[Tensor, "q q"]:
    """A symmetric matrix from its upper triangle."""
    return upper.triu() + upper.triu(1).mT
