"""Rotations: the one closest to a matrix, the one between two sets of vectors, and coordinates to learn one in."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.svd import RANK_TOLERANCE, thin_svd

_TIE = 1e-9
"""Singular values that differ by less than this share are equal."""


def closest_rotation(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The rotation ``R`` in SO(d) with the largest ``<R, M>``, in float64: ``A diag(1, .., 1, det(A B^T)) B^T``.

    Where that leaves a choice, it is the rotation closest to the identity among them: the limit of the answer for
    ``M + eps I`` as eps falls to zero, computed exactly. Singular values of M below `RANK_TOLERANCE` of the largest
    are zero; on the null spaces ``A_0, B_0`` that they leave, ``R`` carries ``B_0`` to ``A_0`` by the orthogonal
    factor of ``A_0^T B_0``, and where this is singular, too, by that of ``-A_0^T M^+ B_0``, the next term of the
    series in eps. A determinant of -1 is corrected at the smallest singular value of the last term that was needed.
    What is then still free is free in the limit as well (a direction that M does not touch has to be reversed, and
    any will do), and the choice is the same every time.

    Source: MDA (arXiv 2512.00391) section 4.2; Umeyama 1991 (IEEE TPAMI 13) for the determinant.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    exact = matrix.detach().to("cpu", torch.float64)
    size = exact.shape[0]
    left, values, right = thin_svd(exact)
    largest = float(values[0])
    decided = _above(values, RANK_TOLERANCE * largest)
    last = _ties(values[:decided], decided)
    inverse = (right[:, :decided] / values[:decided]) @ left[:, :decided].mT
    # Each term of the series decides what those before it left open, and breaks the ties of the one before it.
    terms = [torch.eye(size, dtype=torch.float64), -inverse, torch.zeros_like(exact)]
    for scale in (1.0, 1.0 / largest if largest else 1.0):
        if decided == size:
            break
        inner, values, across = thin_svd(left[:, decided:].mT @ terms.pop(0) @ right[:, decided:])
        left[:, decided:] = left[:, decided:] @ inner
        right[:, decided:] = right[:, decided:] @ across
        count = _above(values, RANK_TOLERANCE * scale)
        decided += count
        last = _ties(values[:count], decided)
    if decided < size:
        last = slice(decided, size)
    if torch.linalg.det(left) * torch.linalg.det(right) < 0:
        tied = left[:, last].mT @ terms[0] @ right[:, last]
        reversed_ = left[:, last] @ torch.linalg.eigh(tied + tied.mT)[1][:, :1]
        left = left - 2 * reversed_ @ (reversed_.mT @ left)
    return (left @ right.mT).to(matrix.device)


def closest_rotation_of_factors(left: Float[Tensor, "d c"], right: Float[Tensor, "d c"]) -> Float[Tensor, "d d"]:
    """What `closest_rotation` gives for ``left @ right.T``, computed in the span of both: it is the identity elsewhere.

    One direction outside the span is added, in case one has to be reversed.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    first, second = (vectors.detach().to("cpu", torch.float64) for vectors in (left, right))
    basis = _with_spare(span_basis(torch.cat([first, second], dim=1)))
    inner = closest_rotation((basis.mT @ first) @ (basis.mT @ second).mT)
    count = basis.shape[1]
    turned = basis @ (inner - torch.eye(count, dtype=torch.float64)) @ basis.mT
    turned.diagonal().add_(1.0)
    return turned.to(left.device)


def span_basis(vectors: Float[Tensor, "d c"]) -> Float[Tensor, "d q"]:
    """Orthonormal basis of the span of columns, in float64; it has no columns where all of them are zero.

    Directions whose singular value is below `RANK_TOLERANCE` of the largest are rounding error and left out.

    Raises:
        NumericalError: an entry is not finite, or every LAPACK driver failed.
    """
    if vectors.numel() == 0:
        return vectors.new_zeros(vectors.shape[0], 0, dtype=torch.float64)
    left, values, _ = thin_svd(vectors.detach().cpu())
    return left[:, : _above(values, RANK_TOLERANCE * float(values[0]))].contiguous().to(vectors.device)


def rotation_at(coordinates: Float[Tensor, " n"], size: int) -> Float[Tensor, "d d"]:
    """The rotation of unconstrained coordinates, differentiably and in float64: the identity at zero.

    ``R = C(S)^2`` with ``C(S) = (I - S/4)^{-1} (I + S/4)``, the Cayley transform of the skew matrix S whose upper
    triangle, row by row, the ``d (d - 1) / 2`` coordinates are. ``C`` never has the eigenvalue -1, and the square
    of such rotations is every rotation there is, reached with ``||S|| <= 4``. To first order in S it is ``exp(S)``.
    One solution and one product take a fraction of the exponential's time, and both are as orthogonal as rounding
    allows however large S grows: ``||R^T R - I||`` is of the order of ``1e-16 (1 + ||S||)``.

    Source: Cayley 1846; Lezcano-Casado and Martinez-Rubio 2019 (arXiv 1901.08428) for learning in such coordinates.
    """
    upper = torch.ones(size, size, dtype=torch.bool, device=coordinates.device).triu(1)
    skew = torch.zeros(size, size, dtype=torch.float64, device=coordinates.device)
    skew = skew.masked_scatter(upper, coordinates.to(torch.float64) / 4)
    identity = torch.eye(size, dtype=torch.float64, device=coordinates.device)
    # Never singular, so that nothing has to be checked; what is not finite stays so, for the caller to detect.
    inverse = torch.linalg.inv_ex(identity - skew + skew.mT)[0]
    root = 2 * inverse - identity
    return root @ root


def _with_spare(basis: Float[Tensor, "d q"]) -> Float[Tensor, "d p"]:
    size, count = basis.shape
    if count == size:
        return basis
    axis = torch.zeros(size, 1, dtype=basis.dtype)
    axis[int(basis.square().sum(dim=1).argmin())] = 1.0
    for _ in range(2):  # the second pass removes what rounding left
        axis = axis - basis @ (basis.mT @ axis)
        axis = axis / axis.norm()
    return torch.cat([basis, axis], dim=1)


def _above(values: Float[Tensor, " q"], bound: float) -> int:
    return int((values > bound).sum())


def _ties(values: Float[Tensor, " q"], end: int) -> slice:
    """The columns that share the smallest of these singular values; the last of them is just before ``end``."""
    count = int((values <= (1 + _TIE) * values[-1]).sum()) if len(values) else 0
    return slice(end - count, end)
