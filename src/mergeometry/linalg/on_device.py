"""Decompositions on the tensors' own device, by torch; what `lapack` gives, to rounding.

`tests/linalg/test_on_device.py` holds them against LAPACK. A device's solver that fails hands over to LAPACK, with a
warning.
"""

from __future__ import annotations

import warnings

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg import lapack
from mergeometry.linalg.tolerances import RANK_TOLERANCE, WELL_CONDITIONED, DecompositionFallbackWarning


def thin_svd(
    matrix: Float[Tensor, "m n"],
) -> tuple[Float[Tensor, "m q"], Float[Tensor, " q"], Float[Tensor, "n q"]]:
    """Decompose ``matrix = U diag(s) V.T``, values descending.

    Raises:
        NumericalError: an entry is not finite, or LAPACK failed as well.
    """
    exact = matrix.double()
    if not bool(torch.isfinite(exact).all()):
        raise NumericalError("a matrix to decompose holds NaN or Inf")
    try:
        left, values, right = torch.linalg.svd(exact, full_matrices=False)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        _warn("SVD")
        left, values, right = (part.to(exact.device) for part in lapack.thin_svd(exact.cpu()))
        return left, values, right
    return left, values, right.mT.contiguous()


def symmetric_eigen(
    gram: Float[Tensor, "*batch n n"], count: int
) -> tuple[Float[Tensor, "*batch count"], Float[Tensor, "*batch n count"]]:
    """Largest ``count`` eigenvalues, descending, and eigenvectors of symmetric matrices (upper triangles read).

    Raises:
        NumericalError: LAPACK failed as well.
    """
    values, vectors = _eigh(gram)
    first = gram.shape[-1] - count
    return values[..., first:].flip(-1), vectors[..., first:].flip(-1)


def symmetric_spectrum(gram: Float[Tensor, "n n"], count: int) -> tuple[Float[Tensor, " n"], Float[Tensor, "n count"]]:
    """Every eigenvalue, descending, and the eigenvectors of the largest ``count``.

    Raises:
        NumericalError: LAPACK failed as well.
    """
    values, vectors = symmetric_eigen(gram, gram.shape[0])
    return values, vectors[:, :count]


def gram(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch n n"]:
    """``matrix.T @ matrix`` in float64."""
    exact = matrix.double()
    return exact.mT @ exact


def times_symmetric(matrix: Float[Tensor, "m n"], symmetric: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``matrix @ symmetric``; only the upper triangle of the latter is read."""
    return matrix @ (symmetric.triu() + symmetric.triu(1).mT)


def solve_gram(target: Float[Tensor, "m n"], gram: Float[Tensor, "n n"]) -> Float[Tensor, "m n"]:
    """``target gram^+``: by a Cholesky factor where the matrix is well-conditioned, by its eigenvectors where not.

    Raises:
        NumericalError: LAPACK failed as well.
    """
    whole = gram.triu() + gram.triu(1).mT
    factor, failed = torch.linalg.cholesky_ex(whole)
    if not failed and bool(_norm(whole) * _norm(torch.cholesky_inverse(factor)) < 1 / WELL_CONDITIONED):
        return torch.cholesky_solve(target.mT, factor).mT
    values, vectors = symmetric_eigen(whole, len(whole))
    inverses = torch.where(values > RANK_TOLERANCE**2 * values[0], 1 / values, 0.0)
    return (target @ vectors * inverses) @ vectors.mT


def _norm(matrix: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    return matrix.abs().sum(dim=0).amax()


def _eigh(gram: Float[Tensor, "*batch n n"]) -> tuple[Tensor, Tensor]:
    try:
        return torch.linalg.eigh(gram, UPLO="U")
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        _warn("eigen-decomposition")
    size = gram.shape[-1]
    pairs = [lapack.symmetric_eigen(each, size) for each in gram.reshape(-1, size, size).cpu()]
    values = torch.stack([each.flip(0) for each, _ in pairs]).reshape(gram.shape[:-1])
    vectors = torch.stack([each.flip(1) for _, each in pairs]).reshape(gram.shape)
    return values.to(gram.device), vectors.to(gram.device)


def _warn(what: str) -> None:
    warnings.warn(f"{what}: the device's solver failed, LAPACK used", DecompositionFallbackWarning, stacklevel=4)
