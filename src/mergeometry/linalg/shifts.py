"""Principal directions of what an update changes in its layer's outputs."""

from __future__ import annotations

from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.svd import RANK_TOLERANCE, magnitude, symmetric_eigen, top_directions
from mergeometry.values import Delta, LowRank


def shift_directions(delta: Delta, moment: Float[Tensor, "n n"], count: int) -> Float[Tensor, "m k"]:
    """Leading ``count`` principal directions of the activation shifts ``X tau^T``, uncentred, the strongest first.

    They are eigenvectors of ``tau G tau^T`` with the inputs' second moment ``G = X^T X / rows``; orthonormal columns in
    float64, and fewer where the shifts span fewer dimensions.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    unit = _unit(moment.double())
    if unit is None or 0 in delta.shape:
        return moment.new_zeros(delta.shape[0], 0, dtype=torch.float64)
    if isinstance(delta, LowRank):
        outer = (delta.core.double() @ delta.right.double().mT) if 0 not in delta.core.shape else None
        return _of_thin(delta, outer, unit, count)
    exact = _unit(delta.double())
    if exact is None:
        return moment.new_zeros(delta.shape[0], 0, dtype=torch.float64)
    m, n = exact.shape
    if m > n:
        return top_directions(exact @ _root(unit), count).left
    values, vectors = symmetric_eigen((exact @ unit) @ exact.mT, min(count, m))
    return vectors[:, _counts(values)]


def _of_thin(
    delta: LowRank, outer: Float[Tensor, "r n"] | None, moment: Float[Tensor, "n n"], count: int
) -> Float[Tensor, "m k"]:
    """The same through the small matrix ``core right^T G right core^T``; no m x m matrix is formed."""
    outer = None if outer is None else _unit(outer)
    if outer is None:
        return moment.new_zeros(delta.shape[0], 0, dtype=torch.float64)
    root = _root((outer @ moment) @ outer.mT)
    whole = torch.eye(root.shape[1], dtype=torch.float64, device=root.device)
    return top_directions(LowRank(delta.left, root, whole), count).left


def _root(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n r"]:
    """A factor F with ``F F^T = gram``, without a column for a direction that has no data."""
    values, vectors = symmetric_eigen(gram, gram.shape[0])
    kept = _counts(values)
    return vectors[:, kept] * values[kept].sqrt()


def _counts(values: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    return (values > RANK_TOLERANCE**2 * values[0]) & (values > 0)


def _unit(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"] | None:
    """The matrix divided by its largest entry, so that squares stay within float64's range; None if it is zero."""
    size = float(magnitude(matrix)) if matrix.numel() else 0.0
    if size == 0.0:
        return None
    if not size < float("inf"):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    return matrix / size
