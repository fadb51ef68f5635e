"""WUDI: the merge that least disturbs what each task vector does to its own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.normal import solve_gram
from mergeometry.linalg.span import right_basis
from mergeometry.linalg.svd import gram
from mergeometry.methods.base import Sizes, Spectral, Work, dense_deltas, parameters
from mergeometry.values import Delta, LowRank


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
        products = 4.0 * m * n * min(m, n) * tasks + 9.0 * n**3
        if self.solver == "adam":
            return Work(products + 2.0 * self.steps * m * n * n, 40 * m * n + 56 * n * max(0, n - m))
        if sizes.dense:
            return Work(products, 8 * m * n + 56 * n * max(0, n - m))
        total = min(n, sum(rank or 0 for rank in sizes.ranks))
        return Work(4.0 * total * total * (m * tasks + n), 8 * total * (4 * m + 2 * n))

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Minimise the interference."""
        if self.solver == "adam":
            dense = dense_deltas(deltas)
            return self._steps(dense).to(dense[0].dtype)
        thin = [delta for delta in deltas if isinstance(delta, LowRank)]
        if len(thin) < len(deltas):
            dense = dense_deltas(deltas)
            return solve_gram(*_normal_equations(dense)).to(dense[0].dtype)
        # All rows lie in the span of the right factors, and so do those of the minimiser: no n x n matrix is formed.
        basis = right_basis(thin)
        inside = [delta.left.double() @ (delta.core.double() @ (delta.right.double().mT @ basis)) for delta in thin]
        return LowRank(
            solve_gram(*_normal_equations(inside)),
            torch.eye(basis.shape[1], dtype=torch.float64, device=basis.device),
            basis,
        )

    def _steps(self, deltas: Sequence[Float[Tensor, "m n"]]) -> Float[Tensor, "m n"]:
        target, weight = _normal_equations(deltas)
        weight = weight.triu() + weight.triu(1).mT
        total = torch.zeros_like(target)
        for delta in deltas:
            total.add_(delta)
        tau = torch.nn.Parameter(total)
        adam = torch.optim.Adam([tau], lr=self.learning_rate)
        for _ in range(self.steps):
            # The gradient in closed form: 2 (tau sum_t G_t - sum_t tau_t G_t).
            tau.grad = 2 * (tau.detach() @ weight - target)
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


def _normal_equations(deltas: Sequence[Float[Tensor, "m n"]]) -> tuple[Float[Tensor, "m n"], Float[Tensor, "n n"]]:
    """``sum_t tau_t G_t`` and the upper triangle of ``sum_t G_t``, one task vector at a time, in float64."""
    m, n = deltas[0].shape
    target, total = (deltas[0].new_zeros(shape, dtype=torch.float64) for shape in ((m, n), (n, n)))
    for delta in deltas:
        unit = delta.to(torch.float64, copy=True)
        size = float(torch.linalg.vector_norm(unit))
        if size == 0.0:
            continue
        unit.div_(size)
        total.add_(gram(unit))
        # tau_t G_t through its smaller side.
        target.add_((unit @ unit.mT) @ unit if m < n else unit @ (unit.mT @ unit), alpha=size)
    return target, total
