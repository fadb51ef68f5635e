"""Task vectors' rows in the place of their layers' inputs: what regressions without data are solved from."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.backend import backend_of
from mergeometry.linalg.span import right_basis
from mergeometry.linalg.svd import gram
from mergeometry.values import Delta, LowRank


def in_row_span(deltas: Sequence[Delta]) -> tuple[list[Float[Tensor, "m q"]], Float[Tensor, "n q"] | None]:
    """Task vectors as matrices whose columns are the coordinates of their rows, and the basis of these coordinates.

    Low-rank ones alone lie in the span of their right factors: no ``n x n`` matrix is needed. With a dense one among
    them the coordinates are the columns themselves, in the dtype that they have, and there is no basis.
    """
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) < len(deltas):
        dtype = next(delta.dtype for delta in deltas if isinstance(delta, Tensor))
        return [delta.dense(dtype) if isinstance(delta, LowRank) else delta for delta in deltas], None
    basis = right_basis(thin)
    return [delta.left.double() @ (delta.core.double() @ (delta.right.double().mT @ basis)) for delta in thin], basis


def out_of_row_span(merged: Float[Tensor, "m q"], basis: Float[Tensor, "n q"] | None, deltas: Sequence[Delta]) -> Delta:
    """A merge in the coordinates of `in_row_span` as the task vector that it stands for."""
    if basis is None:
        return merged.to(next(delta.dtype for delta in deltas if isinstance(delta, Tensor)))
    return LowRank(merged, torch.eye(basis.shape[1], dtype=torch.float64, device=basis.device), basis)


def norms(matrices: Sequence[Float[Tensor, "m q"]]) -> list[float]:
    """Frobenius norms, in float64."""
    return [float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) for matrix in matrices]


def normal_equations(
    matrices: Sequence[Float[Tensor, "m q"]], sizes: Sequence[float]
) -> tuple[Float[Tensor, "m q"], Float[Tensor, "q q"]]:
    """``sum_t tau_t G_t`` and the upper triangle of ``sum_t G_t``, for ``G_t = tau_t^T tau_t / size_t^2``, in float64.

    Only one task vector at a time is copied. One of size zero adds nothing.
    """
    m, q = matrices[0].shape
    target, total = (matrices[0].new_zeros(shape, dtype=torch.float64) for shape in ((m, q), (q, q)))
    for matrix, size in zip(matrices, sizes, strict=True):
        if size == 0.0:
            continue
        unit = matrix.to(torch.float64, copy=True).div_(size)
        moment, times_symmetric = gram(unit), backend_of(unit).times_symmetric
        total.add_(moment)
        # tau_t G_t through its smaller side.
        target.add_(times_symmetric(unit.mT, gram(unit.mT)).mT if m < q else times_symmetric(unit, moment), alpha=size)
    return target, total
