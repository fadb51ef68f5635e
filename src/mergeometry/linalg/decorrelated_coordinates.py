"""Adapters in the coordinates of their decorrelated directions, found from products of their factors alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.side_by_side import SideBySide
from mergeometry.linalg.svd import CANCELLATION, RANK_TOLERANCE, symmetric_eigen, thin_svds
from mergeometry.products import product
from mergeometry.values import Directions, LowRank

_CONDITION = 1e3
"""Bound of the condition, of Frobenius norms, up to which products of columns have ten digits of the columns' own."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Orthonormal columns ``stack solved``, never formed; where ``solved`` is None, the columns of ``stack``."""

    stack: SideBySide
    solved: Float[Tensor, "r p"] | None

    def expand(self, coordinates: Float[Tensor, "p k"]) -> Float[Tensor, "m k"]:
        """Vectors from their coordinates."""
        return self.stack.times(coordinates if self.solved is None else product(self.solved, coordinates))


def in_decorrelated_coordinates(
    deltas: Sequence[LowRank], counts: Sequence[int]
) -> tuple[Columns, Columns, list[Directions]] | None:
    """The leading triplets of each task vector, side by side the positive square roots of their Gram matrices.

    The columns are ``polar([U_1 | ... | U_T])`` and ``polar([V_1 | ... | V_T])``: what methods ask for next is the
    identity. None where factors differ in shape, or their condition asks for reflections.

    Raises:
        NumericalError: an entry is not finite, or every driver failed.
    """
    alike = len({tuple(delta.core.shape) for delta in deltas}) == len(set(counts)) == 1
    if not alike or counts[0] == 0 or 0 in deltas[0].core.shape:
        return None
    left, right = _Side.of([delta.left for delta in deltas]), _Side.of([delta.right for delta in deltas])
    if left is None or right is None:
        return None
    cores = torch.stack([delta.core for delta in deltas]).double()
    inside, values, across = thin_svds(left.triangles @ cores @ right.triangles.mT)
    norms = (part.flatten(1).norm(dim=1) for part in (left.triangles, cores, right.triangles))
    rounding = CANCELLATION * torch.stack(list(norms)).prod(dim=0)
    count = min(counts[0], values.shape[1])
    if not bool((values[:, count - 1] > torch.maximum(RANK_TOLERANCE * values[:, 0], rounding)).all()):
        return None
    first, second = left.decorrelated(inside[:, :, :count]), right.decorrelated(across[:, :, :count])
    if first is None or second is None:
        return None
    (one, lefts), (other, rights) = first, second
    found = [
        Directions(lefts[:, at : at + count], values[place, :count], rights[:, at : at + count], of_adapter=True)
        for place, at in enumerate(range(0, lefts.shape[1], count))
    ]
    return one, other, found


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side's factors: products of their columns of unit length, those lengths, and each task's triangle."""

    stack: SideBySide
    products: Float[Tensor, "r r"]
    lengths: Float[Tensor, " r"]
    triangles: Float[Tensor, "t s s"]
    inverses: Float[Tensor, "t s s"]

    @classmethod
    def of(cls, factors: Sequence[Float[Tensor, "m s"]]) -> _Side | None:
        """None where the columns of a task are of too bad a condition, or too large or small to be squared."""
        stack = SideBySide(factors)
        scaled, products, _ = stack.scaled()
        if scaled is not stack:
            return None
        lengths = products.diagonal().sqrt()
        products = (products.triu() + products.triu(1).mT) / lengths / lengths[:, None]
        tasks, width = len(factors), factors[0].shape[1]
        blocks = products.view(tasks, width, tasks, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        triangles, failed = torch.linalg.cholesky_ex(blocks, upper=True)
        if bool(failed.any()):
            return None
        identity = torch.eye(width, dtype=products.dtype, device=products.device)
        inverses = torch.linalg.solve_triangular(triangles, identity, upper=True)
        if not bool((triangles.flatten(1).norm(dim=1) * inverses.flatten(1).norm(dim=1) < _CONDITION).all()):
            return None
        return cls(stack, products, lengths, triangles * lengths.view(tasks, 1, width), inverses)

    def decorrelated(self, turns: Float[Tensor, "t s k"]) -> tuple[Columns, Float[Tensor, "p p"]] | None:
        """The nearest orthonormal columns to the tasks' directions, and those directions in their coordinates.

        A task's directions are its columns times its inverse triangle times its turn.
        """
        tasks, width, count = turns.shape
        directions = self.inverses @ turns
        rows = (directions.mT @ self.products.view(tasks, width, -1)).view(tasks * count, tasks, width)
        products = (rows.transpose(0, 1) @ directions).transpose(0, 1).reshape(tasks * count, -1)
        values, basis = symmetric_eigen(products, tasks * count)
        if not bool(values[-1] * _CONDITION**2 > values[0]):
            return None
        roots = values.sqrt()
        coordinates = product(basis * roots, basis.mT)
        inverse = product(basis / roots, basis.mT).view(tasks, count, -1)
        solved = (directions / self.lengths.view(tasks, width, 1) @ inverse).view(tasks * width, -1)
        # Symmetric to the last bit, by which `shared_subspace` knows that nothing is left to decorrelate.
        return Columns(self.stack, solved), (coordinates + coordinates.mT) / 2
