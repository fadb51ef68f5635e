"""Inner products of task vectors, dense or low-rank, without forming low-rank ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.values import Delta, LowRank

_CHUNK = 1 << 20
"""Entries held in float64 at a time."""


def inner(one: Delta, other: Delta) -> float:
    """Frobenius inner product ``<A, B>`` in float64.

    Of two products of thin factors it is ``<C_a, (L_a^T L_b) C_b (R_b^T R_a)>``, of a thin and a dense one
    ``<C_a, L_a^T B R_a>``.

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(one.shape) != tuple(other.shape):
        raise ValueError(f"expected two task vectors of one shape, got {list(one.shape)} and {list(other.shape)}")
    if one is other and isinstance(one, LowRank) and one.orthonormal:
        return float(one.core.double().square().sum())
    if isinstance(one, LowRank):
        left, core, right = one.left.double(), one.core.double(), one.right.double()
        if isinstance(other, LowRank):
            turned = (left.mT @ other.left.double()) @ other.core.double() @ (other.right.double().mT @ right)
        else:
            turned = _between(left, other, right)
        return float((core * turned).sum())
    return inner(other, one) if isinstance(other, LowRank) else _dense(one, other)


def inner_with_each(deltas: Sequence[Delta], dense: Tensor) -> list[float]:
    """``<A_t, B>`` of several task vectors with one dense tensor, which is read once for all that are thin factors."""
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) < len(deltas) or not thin:
        return [inner(delta, dense) for delta in deltas]
    rights = [delta.right.double() for delta in thin]
    turned = torch.zeros(dense.shape[0], sum(right.shape[1] for right in rights), dtype=torch.float64)
    for part in _parts(dense):
        torch.mm(dense[part].double(), torch.cat(rights, dim=1), out=turned[part])
    columns = turned.split([right.shape[1] for right in rights], dim=1)
    return [
        float((delta.core.double() * (delta.left.double().mT @ own)).sum())
        for delta, own in zip(thin, columns, strict=True)
    ]


def products_of_pairs(vectors: Sequence[Float[Tensor, " count"]]) -> Float[Tensor, "tasks tasks"]:
    """Inner products of a few long vectors with each other: faster one by one than as a product of matrices."""
    products = [[0.0] * len(vectors) for _ in vectors]
    for place, one in enumerate(vectors):
        for earlier in range(place + 1):
            products[place][earlier] = products[earlier][place] = one.dot(vectors[earlier]).item()
    return torch.tensor(products, dtype=vectors[0].dtype)


def _between(left: Tensor, dense: Tensor, right: Tensor) -> Tensor:
    """``L^T B R``, some rows of B in float64 at a time."""
    product = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64, device=dense.device)
    for part in _parts(dense):
        product += left[part].mT @ (dense[part].double() @ right)
    return product


def _parts(dense: Tensor) -> Iterator[slice]:
    """Its rows, as many at a time as make a chunk."""
    rows = max(1, _CHUNK // max(1, dense.shape[1]))
    return (slice(first, first + rows) for first in range(0, dense.shape[0], rows))


def _dense(one: Tensor, other: Tensor) -> float:
    if one.dim() == 2 and one.mT.is_contiguous() and other.mT.is_contiguous():
        one, other = one.mT, other.mT
    flat, along = one.reshape(-1), other.reshape(-1)
    total = torch.zeros((), dtype=torch.float64, device=flat.device)
    for first in range(0, flat.numel(), _CHUNK):
        part = slice(first, first + _CHUNK)
        total += torch.dot(flat[part].double(), along[part].double())
    return float(total)
