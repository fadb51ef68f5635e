"""RegMean: the linear map nearest to every model's own on that model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.normal import solve_gram
from mergeometry.methods.base import Activational, Sizes, Work, dense_deltas, parameters
from mergeometry.products import product
from mergeometry.values import Delta, LowRank


@parameters
class RegMean(Activational):
    """Change each model's outputs on its own unlabelled inputs as little as possible, layer by layer.

    Law: ``W = (sum_t w_t W_t G_t)(sum_t w_t G_t)^+`` with ``G_t = X_t^T X_t / rows``, which minimises
    ``sum_t w_t ||X_t W^T - X_t W_t^T||_F^2 / rows``. The base is common, so task vectors can replace the weights:
    ``tau = (sum_t w_t tau_t G_t)(sum_t w_t G_t)^+``. Off-diagonal entries of G_t are first multiplied by
    ``shrinkage``, the paper's alpha. Choices: the base's weights stay in directions that no input has (the smallest
    minimiser); a model's weight multiplies the number of its inputs.
    """

    source: ClassVar[str] = "Jin et al. 2023, Dataless knowledge fusion (RegMean), arXiv 2212.09849, section 3"

    shrinkage: Annotated[float, Field(ge=0, le=1, description="factor of the moments' off-diagonal entries")] = 0.9

    @property
    def equal_models(self) -> Literal["same"]:
        """The model itself changes none of its outputs."""
        return "same"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that leave no least-squares problem."""
        super().check(tasks, shape, weights)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError("weights count each model's inputs: they must not be negative, nor all zero")

    def extra_cost(self, sizes: Sizes) -> Work:
        """A product for each task and one solve; the sums, one moment and the decomposition's copies in memory."""
        m, n = sizes.shape
        rows = m if sizes.dense else sum(rank or 0 for rank in sizes.ranks)
        products = 2.0 * (m * sizes.tasks if sizes.dense else rows) * n * n
        # Shrunk moments have a Cholesky factor; others may have few rows, and need an eigendecomposition.
        solving = (1.0 if self.shrinkage < 1 else 9.0) * n**3
        memory = 8 * (6 * n * n + 5 * rows * n + (m * n if rows else 0))
        return Work(products + solving + 4.0 * rows * n * n, memory)

    def merge(
        self, deltas: Sequence[Delta], weights: Sequence[float], moments: Iterable[Float[Tensor, "n n"]]
    ) -> Delta:
        """Solve the normal equations; for low-rank task vectors, only for their right factors."""
        thin = [delta for delta in deltas if isinstance(delta, LowRank)]
        dense = [] if len(thin) == len(deltas) else dense_deltas(deltas)
        m, n = deltas[0].shape
        total = torch.zeros(n, n, dtype=torch.float64, device=deltas[0].device)
        target = torch.zeros(m, n, dtype=torch.float64, device=deltas[0].device) if dense else None
        rows: list[Tensor] = []
        for place, (weight, moment) in enumerate(zip(weights, moments, strict=True)):
            shrunk = self._shrunk(moment, weight)
            total.add_(shrunk)
            if target is None:
                rows.append(thin[place].right.double().mT @ shrunk)
            else:
                target.add_(product(dense[place].double(), shrunk))
        if target is not None:
            return solve_gram(target, total).to(dense[0].dtype)
        left = torch.cat([delta.left.double() for delta in thin], dim=1)
        core = torch.block_diag(*(delta.core.double() for delta in thin))
        return LowRank(left, core, solve_gram(torch.cat(rows), total).mT)

    def _shrunk(self, moment: Float[Tensor, "n n"], weight: float) -> Float[Tensor, "n n"]:
        shrunk = moment * (weight * self.shrinkage)
        shrunk.diagonal().copy_(moment.diagonal() * weight)
        return shrunk
