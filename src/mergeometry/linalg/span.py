"""Task vectors in the coordinates of the directions that all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.svd import RANK_TOLERANCE, gram, magnitude, symmetric_eigen
from mergeometry.products import product
from mergeometry.values import Delta, LowRank


def common_left(deltas: Sequence[Delta]) -> Float[Tensor, "m r"]:
    """Left singular directions of ``[tau_1 | ... | tau_T]``, strongest first and zero ones left out, in float64.

    They are eigenvectors of ``sum_t tau_t tau_t^T``, so the wide matrix is never decomposed; where all task vectors
    are low-rank, that sum is taken inside the span of their left factors.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) < len(deltas):
        return _directions([_exact(delta) for delta in deltas])
    basis, _ = torch.linalg.qr(torch.cat([delta.left for delta in thin], dim=1).double())
    return basis @ _directions([left_coordinates(basis, delta) for delta in thin])


def left_coordinates(basis: Float[Tensor, "m r"], delta: Delta) -> Float[Tensor, "r n"]:
    """``P^T tau`` for orthonormal columns P, in float64."""
    if isinstance(delta, LowRank):
        return (basis.mT @ delta.left.double() @ delta.core.double()) @ delta.right.double().mT
    return product(basis.mT, delta.double())


def right_basis(deltas: Sequence[LowRank]) -> Float[Tensor, "n r"]:
    """Orthonormal columns whose span holds the rows of every one of these task vectors, in float64."""
    basis, _ = torch.linalg.qr(torch.cat([delta.right for delta in deltas], dim=1).double())
    return basis


def _directions(matrices: Sequence[Float[Tensor, "m n"]]) -> Float[Tensor, "m r"]:
    size = max((float(magnitude(matrix)) for matrix in matrices if matrix.numel()), default=0.0)
    side = matrices[0].shape[0]
    if size == 0.0:
        return torch.zeros(side, 0, dtype=torch.float64, device=matrices[0].device)
    if not size < float("inf"):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    total = torch.zeros(side, side, dtype=torch.float64, device=matrices[0].device)
    for matrix in matrices:
        # Squares of very large or small entries would leave float64's range.
        total.add_(gram((matrix.double() / size).mT))
    values, vectors = symmetric_eigen(total, side)
    return vectors[:, values > RANK_TOLERANCE**2 * values[0]]


def _exact(delta: Delta) -> Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta
