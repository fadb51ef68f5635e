"""Adapters in the coordinates of the directions that all of them span: small matrices in place of thin ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.blocks import diagonal_blocks
from mergeometry.deferred import Float, Int, Tensor, torch
from mergeometry.linalg.decorrelated_coordinates import Columns, in_decorrelated_coordinates
from mergeometry.linalg.side_by_side import SideBySide
from mergeometry.linalg.svd import peaks_below_zero, singular_core
from mergeometry.linalg.thin_products import triplets_of_products
from mergeometry.values import Directions, LowRank

_ONE_PASS = 1e4
"""Bound of the condition up to which the Cholesky factor of a Gram matrix has nine digits or more: its error grows as
the condition's square. The bound is that of Frobenius norms, at least the number of columns."""

_TWO_PASSES = 1e7
"""The same up to which a second pass restores them; beyond it, Householder reflections take over."""


@dataclass(frozen=True, slots=True, eq=False)
class Basis(Columns):
    """Orthonormal columns Q of vectors ``Q triangle``."""

    triangle: Float[Tensor, "p r"]


def basis_of(factors: Sequence[Float[Tensor, "m _"]]) -> Basis:
    """A basis of the span of all columns, in float64, by Cholesky factors of Gram matrices where the condition allows.

    Columns count by their directions: sizes that differ, as those of an adapter's directions do, are then no part of
    the condition. Zero columns take no part.

    Raises:
        NumericalError: an entry is not finite.
    """
    stack = SideBySide(factors)
    if 0 in (stack.rows, stack.width):
        return _householder(stack)
    stack, products, sizes = stack.scaled()
    lengths = products.diagonal().sqrt()
    kept = lengths.nonzero()[:, 0]
    if len(kept) < stack.width:
        products, lengths = products[kept][:, kept], lengths[kept]
    inverse_lengths = 1 / lengths
    triangle, solved, condition = _cholesky(products * inverse_lengths * inverse_lengths[:, None])
    solved = _spread(solved * inverse_lengths[:, None], kept, stack.width)
    if condition > _ONE_PASS and condition <= _TWO_PASSES:
        second, more, spread = _cholesky(stack.gram(solved))
        triangle, solved = second @ triangle, solved @ more
        condition = condition if spread < 2 * len(triangle) else float("inf")
    if not condition <= _TWO_PASSES:
        basis = _householder(stack)
        return Basis(basis.stack, None, basis.triangle * sizes)
    triangle = _spread((triangle * lengths).mT, kept, stack.width).mT
    return Basis(stack, solved, triangle * sizes)


def in_coordinates(deltas: Sequence[LowRank], counts: Sequence[int]) -> tuple[Columns, Columns, list[Directions]]:
    """A basis for either side, and in its coordinates the leading ``counts`` singular triplets of each task vector.

    Signs are as they come. Triplets that `top_directions` would leave out are left out.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    if (found := in_decorrelated_coordinates(deltas, counts)) is not None:
        return found
    left, right = (basis_of(side) for side in zip(*((d.left, d.right) for d in deltas), strict=True))
    lefts = left.triangle.split([delta.core.shape[0] for delta in deltas], dim=1)
    rights = right.triangle.split([delta.core.shape[1] for delta in deltas], dim=1)
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, delta in enumerate(deltas):
        alike.setdefault(tuple(delta.core.shape), []).append(place)
    triplets: dict[int, Directions] = {}
    for places in alike.values():
        cores = [deltas[place].core.double() for place in places]
        one, inner, other = (
            torch.stack(parts) for parts in ([lefts[p] for p in places], cores, [rights[p] for p in places])
        )
        for place, whole in zip(places, triplets_of_products(one, inner, other), strict=True):
            triplets[place] = whole.leading(counts[place])
    return left, right, [triplets[place] for place in range(len(deltas))]


def turned(delta: LowRank) -> LowRank:
    """A small matrix between orthonormal sides, with its singular values between them where they cost little to find.

    They do where its core falls into blocks; of a core in one block, callers find them that need them.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    if not delta.orthonormal:
        (one, one_triangle), (other, other_triangle) = torch.linalg.qr(delta.left), torch.linalg.qr(delta.right)
        delta = LowRank(one, one_triangle @ delta.core @ other_triangle.mT, other, orthonormal=True)
    whole = 0 in delta.core.shape or len(diagonal_blocks(delta.core)) == 1
    return delta if whole else singular_core(delta)


def expanded(delta: LowRank, left: Columns, right: Columns) -> LowRank:
    """A matrix from its coordinates; where the core is diagonal, the left directions have the signs of `fix_signs`."""
    outer, core, inner = left.expand(delta.left), delta.core, delta.right
    if outer.numel() and core.shape[0] == core.shape[1] and core.count_nonzero() == core.diagonal().count_nonzero():
        signs = torch.where(peaks_below_zero(outer), -1.0, 1.0).to(outer)
        outer, inner = outer.mul_(signs), inner * signs  # in place: nobody else has what was just formed
    return LowRank(outer, core, right.expand(inner), delta.orthonormal)


def _spread(rows: Float[Tensor, "k p"], places: Int[Tensor, " k"], count: int) -> Float[Tensor, "count p"]:
    """The rows at their places among ``count``, zeros between them."""
    return rows if len(rows) == count else rows.new_zeros(count, rows.shape[1]).index_copy(0, places, rows)


def _householder(stack: SideBySide) -> Basis:
    orthonormal, triangle = torch.linalg.qr(stack.whole())
    return Basis(SideBySide([orthonormal]), None, triangle)


def _cholesky(upper: Float[Tensor, "r r"]) -> tuple[Float[Tensor, "r r"], Float[Tensor, "r r"], float]:
    """The upper factor, its inverse, and a bound of its condition: infinite where there is no factor."""
    factor, failed = torch.linalg.cholesky_ex(upper, upper=True)
    if failed:
        return factor, factor, float("inf")
    identity = torch.eye(len(upper), dtype=upper.dtype, device=upper.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=True)
    return factor, inverse, float(factor.norm() * inverse.norm())
