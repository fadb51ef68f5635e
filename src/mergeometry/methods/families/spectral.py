"""Merges through the singular values of whole matrices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.cost import Sizes, Work, stacked_directions, whole_spectrum
from mergeometry.methods.families.matrixwise import Matrixwise
from mergeometry.methods.families.weights import weighed
from mergeometry.values import Delta


class Spectral(Matrixwise):
    """A merge through the singular values of whole matrices, dense or low-rank."""

    family: ClassVar[str] = "spectral"

    @abstractmethod
    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Merge matrices; low-rank inputs give a low-rank result."""

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold the matrices, multiply them by their models' weights, then merge."""
        return Held(
            lambda deltas: self.merge([weighed(delta, weight) for delta, weight in zip(deltas, weights, strict=True)])
        )

    def cost(self, sizes: Sizes) -> Work:
        """The decomposition of the sum of dense matrices; for adapters alone, their directions side by side."""
        work = whole_spectrum(sizes) if sizes.dense else self.side_by_side(sizes)
        return work + self.extra_cost(sizes)

    def side_by_side(self, sizes: Sizes) -> Work:
        """Every direction of every task vector, made orthogonal together."""
        short = min(sizes.shape)
        counts = [short if rank is None else rank for rank in sizes.ranks]
        return stacked_directions(sizes, counts, min(short, sum(counts)), sizes.number * sizes.elements * sizes.dense)
