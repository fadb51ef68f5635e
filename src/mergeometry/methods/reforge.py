"""ReForge: regression on the task vectors' own rows, held near a merge that is good already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.row_moments import in_row_span, normal_equations, norms, out_of_row_span
from mergeometry.methods.base import Rank, Sizes, Spectral, Work, check_rank, parameters, regression_on_rows
from mergeometry.methods.iso_c import IsoC
from mergeometry.methods.own_blocks import OwnBlocks
from mergeometry.methods.task_arithmetic import TaskArithmetic
from mergeometry.methods.tsv_m import TSVM
from mergeometry.values import Delta


@parameters
class ReForge(Spectral):
    """Refine another method's merge by regression, which changes it most where the task vectors say most.

    Law: ``tau = (sum_t tau_t G_t + b tau_a)(sum_t G_t + b I)^{-1}``, the minimiser of
    ``sum_t tr((tau - tau_t) G_t (tau - tau_t)^T) + b ||tau - tau_a||_F^2``: the mean of a Bayesian linear regression
    whose prior is the anchor ``tau_a``. Without data, the Gram matrix ``G_t`` is estimated from the task vector.
    Choices, for what the paper leaves to a search per layer on validation inputs, or where its text was not to be had:
    ``G_t = tau_t^T tau_t / ||tau_t||_F^2``, and ``b`` is ``ridge`` times the mean eigenvalue of ``sum_t G_t``, which is
    the number of task vectors over the number of inputs.
    """

    source: ClassVar[str] = (
        "Li et al. 2026, Bayesian model merging (later ReForge: refining merged models with anchor-regularized "
        "regression), arXiv 2605.12843, section 4 without its search"
    )

    anchor: Annotated[
        Literal["tsv_m", "iso_c", "own_blocks", "task_arithmetic"],
        Field(description="the method whose merge is refined"),
    ] = "tsv_m"
    ridge: Annotated[
        float, Field(gt=0, description="how strongly the anchor holds, in mean eigenvalues of the moments")
    ] = 1.0
    rank: Rank = "auto"

    @property
    def equal_models(self) -> Literal["same"] | None:
        """Where the anchor of equal task vectors is that of one, nothing conflicts with it."""
        return "same" if self.anchor == "tsv_m" else None

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are not matrices, and ranks that they cannot have."""
        super().check(tasks, shape, weights)
        check_rank(self.rank, shape)

    def cost(self, sizes: Sizes) -> Work:
        """The anchor's merge, and the regression after it beside its result."""
        own, anchor = super().cost(sizes), self._anchor().cost(sizes)
        held = sizes.number * sizes.elements * sizes.dense
        return Work(own.flops + anchor.flops, max(own.memory, anchor.memory + held))

    def extra_cost(self, sizes: Sizes) -> Work:
        """The normal equations of the input side, and their solution."""
        return regression_on_rows(sizes)

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Merge by the anchor, then solve for what the regression changes; adapters, in the span of their rows."""
        anchor = self._anchor()(deltas)
        rows, basis = in_row_span(deltas)
        sizes = norms(rows)
        target, gram = normal_equations(rows, sizes)
        strength = self.ridge * sum(size > 0 for size in sizes) / max(1, deltas[0].shape[1])
        target.add_(_coordinates(anchor, basis), alpha=strength)
        gram.diagonal().add_(strength)
        return out_of_row_span(solve_gram(target, gram), basis, deltas)

    def _anchor(self) -> TSVM | IsoC | OwnBlocks | TaskArithmetic:
        match self.anchor:
            case "tsv_m":
                return TSVM(rank=self.rank)
            case "own_blocks":
                return OwnBlocks(rank=self.rank)
            case "iso_c":
                return IsoC()
            case "task_arithmetic":
                return TaskArithmetic()


def _coordinates(delta: Delta, basis: Float[Tensor, "n q"] | None) -> Float[Tensor, "m q"]:
    """A merge of task vectors, whose rows lie in the span of theirs, in the coordinates of `in_row_span`."""
    if isinstance(delta, Tensor):
        return delta.double()
    right = delta.right.double() if basis is None else basis.mT @ delta.right.double()
    return delta.left.double() @ delta.core.double() @ right.mT
