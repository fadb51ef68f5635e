"""Simplex equiangular tight frames: unit vectors that are as far apart from each other as possible."""

from __future__ import annotations

from mergeometry.deferred import Float, Tensor, torch


def simplex_etf(basis: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """``sqrt(k/(k-1)) P (I - 11^T/k)``: k unit vectors in the span of an orthonormal basis P, all at cosine -1/(k-1).

    Source: Papyan, Han and Donoho 2020, Definition 3; MDA (arXiv 2512.00391) section 3.

    Raises:
        ValueError: there are fewer than two vertices, for which no simplex is defined.
    """
    count = basis.shape[1]
    factor = _vertex_factor(count)
    return factor**0.5 * (basis - basis.mean(dim=1, keepdim=True))


def shared_direction_gram(count: int, device: torch.device | None = None) -> Float[Tensor, "r r"]:
    """``r/(r-1) (I - 11^T/r)``: the Gram operator of a simplex with one vertex per shared direction, ``r`` in all.

    Raises:
        ValueError: there are fewer than two directions.
    """
    factor = _vertex_factor(count)
    return factor * (torch.eye(count, dtype=torch.float64, device=device) - 1.0 / count)


def task_gram(counts: list[int], device: torch.device | None = None) -> Float[Tensor, "r r"]:
    """``T/(T-1) (I_T - 11^T/T) kron I_k``: one vertex per task, direction i of each against direction i of the others.

    Tasks with fewer directions than others are as if padded with zero columns: nothing is subtracted there.

    Raises:
        ValueError: there are fewer than two tasks.
    """
    tasks = len(counts)
    factor = _vertex_factor(tasks)
    index = torch.cat([torch.arange(count, device=device) for count in counts])
    same = (index[:, None] == index[None, :]).to(torch.float64)
    return factor * (torch.eye(len(index), dtype=torch.float64, device=device) - same / tasks)


def centre_rows(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """``m/(m-1) (I - 11^T/m) A``: the Gram operator of a simplex with one vertex per output unit, applied to A.

    Raises:
        ValueError: there are fewer than two rows.
    """
    return _vertex_factor(matrix.shape[0]) * (matrix - matrix.mean(dim=0, keepdim=True))


def remove_direction(matrix: Float[Tensor, "m n"], unit: Float[Tensor, " m"], vertices: int) -> Float[Tensor, "m n"]:
    """``K/(K-1) (I - q q^T) A``: the Gram operator of a simplex on any K orthonormal vectors that span A's columns.

    ``q`` is the unit vector along their mean.

    Raises:
        ValueError: there are fewer than two vertices.
    """
    return _vertex_factor(vertices) * (matrix - torch.outer(unit, unit @ matrix))


def _vertex_factor(count: int) -> float:
    if count < 2:
        raise ValueError(f"a simplex ETF needs at least two vertices, got {count}")
    return count / (count - 1)
