"""ESM: each task's essential subspace, spanned by what its update changes in the layer's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.polar import polar
from mergeometry.linalg.shifts import shift_directions
from mergeometry.methods.base import Activational, Rank, Sizes, Work, check_rank, parameters, rank_of, weighed
from mergeometry.products import product
from mergeometry.values import Delta, LowRank


@parameters
class ESM(Activational):
    """Keep the part of each task vector that shows in its layer's outputs, decorrelate, and favour strong parts.

    Law: P_t are the leading ``rank`` principal components of the activation shifts ``X_t tau_t^T``, the eigenvectors
    of ``tau_t G_t tau_t^T``, and ``A_t = P_t^T tau_t``. Polarised scaling multiplies each A_t by its Frobenius norm
    over their mean, to the ``power``, then each column of ``A = [A_1; ...; A_T]`` likewise. With polar factors in
    place of ``P = [P_1 | ... | P_T]`` and of A, each times its mean singular value, ``tau = b P A``. In a whole model
    b is the norm of ``P A`` over the mean of the layers of its type, to the ``power``; for a matrix by itself it is 1.

    The paper's summary leaves the size of the polar factors open; the mean singular value is that of the authors'
    published script, and without it the norms of layers would not differ. Choices: components are uncentred, as there;
    its constant factor 2 is left to ``scale``; norms are those of the truncated A_t; means leave out singular values of
    zero and tasks that did not change the matrix; layers whose names differ only in numbers are of one type.
    """

    source: ClassVar[str] = "Li et al. 2026, Model merging in the essential subspace, arXiv 2602.20208"
    compares_layers: ClassVar[bool] = True

    rank: Annotated[
        Rank,
        Field(description="directions of each task: an integer, a fraction of the smaller side, or auto "
              "(outputs / number of tasks)"),
    ] = "auto"  # fmt: skip
    power: Annotated[
        float, Field(ge=0, le=8, description="exponent of the three scalings by relative norm; 0 leaves them out")
    ] = 2.0

    @property
    def equal_models(self) -> Literal["sum"]:
        """N equal blocks decorrelate to 1/sqrt(N) of each on both sides, and their mean singular values undo that."""
        return "sum"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are not matrices, and ranks that they cannot have."""
        super().check(tasks, shape, weights)
        check_rank(self.rank, shape)

    def extra_cost(self, sizes: Sizes) -> Work:
        """The moments' products and decompositions task by task, then two polar factors."""
        (m, n), ranks = sizes.shape, sizes.ranks
        kept = [min(self._count(m, n, len(ranks)), m if rank is None else rank) for rank in ranks]
        total, short = sum(kept), min(m, n)
        dense = sizes.dense
        products = dense * (2.0 * m * n * n + 2.0 * m * m * n + 12.0 * short**3)
        thin = sum(2.0 * (rank or 0) * n * n for rank in ranks)
        polars = 5.0 * (total * total * (m + n) + 2 * min(total, m) ** 3)
        working = 8 * (2 * n * n + (3 * short * max(m, n) + 4 * short * short if dense else 0))
        return Work(products + thin + polars, working + 8 * (8 * total * (m + n) + 6 * min(total, m) ** 2))

    def merge(
        self, deltas: Sequence[Delta], weights: Sequence[float], moments: Iterable[Float[Tensor, "n n"]]
    ) -> LowRank:
        """Decompose each task vector by its own activations, then merge the parts."""
        m, n = deltas[0].shape
        bases: list[Tensor] = []
        coordinates: list[Tensor] = []
        for delta, weight, moment in zip(deltas, weights, moments, strict=True):
            update = weighed(delta, weight)
            basis = shift_directions(update, moment, self._count(m, n, len(deltas)))
            if basis.shape[1]:
                bases.append(basis)
                coordinates.append(_coordinates(basis, update))
        if not bases:
            return LowRank.zero(m, n, deltas[0].device)
        whitened, spread = polar(torch.cat(bases, dim=1))
        inner, sizes = polar(self._polarised(coordinates))
        size = spread.mean() * sizes.mean() * self.relative_norm**self.power
        return LowRank(whitened, torch.eye(inner.shape[0], dtype=torch.float64, device=inner.device) * size, inner.mT)

    def _polarised(self, coordinates: Sequence[Float[Tensor, "_ n"]]) -> Float[Tensor, "r n"]:
        norms = torch.stack([torch.linalg.vector_norm(block) for block in coordinates])
        tasks = (norms / norms.mean()) ** self.power
        stacked = torch.cat([block * factor for block, factor in zip(coordinates, tasks, strict=True)])
        columns = torch.linalg.vector_norm(stacked, dim=0)
        return stacked * (columns / columns.mean()) ** self.power

    def _count(self, m: int, n: int, tasks: int) -> int:
        # The published budget is a share of the outputs, which may exceed the number of the matrix's directions.
        return max(1, m // tasks) if self.rank == "auto" else rank_of(self.rank, (m, n), tasks)


def _coordinates(basis: Float[Tensor, "m k"], delta: Delta) -> Float[Tensor, "k n"]:
    if isinstance(delta, LowRank):
        return (basis.mT @ delta.left.double()) @ delta.core.double() @ delta.right.double().mT
    return product(basis.mT, delta.double())
