"""WUDI: the merge that least disturbs what each task vector does to its own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.row_moments import in_row_span, normal_equations, norms, out_of_row_span
from mergeometry.methods.base import Sizes, Spectral, Work, dense_deltas, parameters, regression_on_rows
from mergeometry.products import product
from mergeometry.values import Delta


@parameters
class WUDI(Spectral):
    """Take each task vector's rows as its layer's inputs, and disturb the outputs on them as little as possible.

    Law: ``tau`` minimises ``sum_t ||(tau - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2``. ``solver: exact`` is its smallest
    minimiser, ``tau = (sum_t tau_t G_t)(sum_t G_t)^+`` with ``G_t = tau_t^T tau_t / ||tau_t||_F^2``; ``solver: adam``
    takes the published ``steps`` of Adam at ``learning_rate`` from ``sum_t tau_t``, which stop short of it.
    """

    source: ClassVar[str] = (
        "Cheng et al. 2025, Whoever started the interference should end it, arXiv 2503.08099, section 4"
    )

    solver: Annotated[
        Literal["exact", "adam"], Field(description="the minimiser itself, or the published steps towards it")
    ] = "exact"
    steps: Annotated[int, Field(ge=1, description="steps of adam")] = 300
    learning_rate: Annotated[float, Field(gt=0, description="rate of adam")] = 1e-5

    @property
    def equal_models(self) -> Literal["same"] | None:
        """Equal task vectors do not conflict: they attain the minimum of zero, which Adam's steps do not reach."""
        return "same" if self.solver == "exact" else None

    @property
    def homogeneous(self) -> bool:
        """Steps of a fixed length mean less to larger task vectors."""
        return self.solver == "exact"

    @property
    def stays_low_rank(self) -> bool:
        """The minimiser stays low-rank; Adam treats every entry by itself."""
        return self.solver == "exact"

    def extra_cost(self, sizes: Sizes) -> Work:
        """A square matrix of the input side, even where it is the longer one; for Adam, its steps and state."""
        (m, n), tasks = sizes.shape, sizes.tasks
        if self.solver == "exact":
            return regression_on_rows(sizes)
        products = 4.0 * m * n * min(m, n) * tasks + 2.0 * self.steps * m * n * n
        return Work(products, 40 * m * n + 56 * n * max(0, n - m))

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Minimise the interference."""
        if self.solver == "adam":
            dense = dense_deltas(deltas)
            return self._steps(dense).to(dense[0].dtype)
        rows, basis = in_row_span(deltas)
        return out_of_row_span(solve_gram(*normal_equations(rows, norms(rows))), basis, deltas)

    def _steps(self, deltas: Sequence[Float[Tensor, "m n"]]) -> Float[Tensor, "m n"]:
        target, weight = normal_equations(deltas, norms(deltas))
        weight = weight.triu() + weight.triu(1).mT
        total = torch.zeros_like(target)
        for delta in deltas:
            total.add_(delta)
        tau = torch.nn.Parameter(total)
        adam = torch.optim.Adam([tau], lr=self.learning_rate)
        for _ in range(self.steps):
            # The gradient in closed form: 2 (tau sum_t G_t - sum_t tau_t G_t).
            tau.grad = 2 * (product(tau.detach(), weight) - target)
            adam.step()
        return tau.detach()


def interference(tau: Float[Tensor, "m n"], deltas: Sequence[Float[Tensor, "m n"]]) -> float:
    """What WUDI minimises, ``sum_t ||(tau - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2``, in float64.

    Source: Cheng et al. 2025 (arXiv 2503.08099), section 4.
    """
    total = 0.0
    for delta in deltas:
        exact = delta.double()
        size = float(exact.square().sum())
        if size:
            total += float(((tau.double() - exact) @ exact.mT).square().sum()) / size
    return total
