"""Where the decompositions of a merge come from: computed each time, or known from an earlier merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg import polar, svd
from mergeometry.linalg.spectrum import singular_values
from mergeometry.values import Delta, Directions


@runtime_checkable
class Recall(Protocol):
    """What a merge asks for decompositions, which may know them. The same bits come either way."""

    def top_directions(self, delta: Delta, count: int) -> Directions:
        """What `linalg.svd.top_directions` gives."""
        ...

    def decorrelated(self, matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], bool]:
        """What `linalg.polar.decorrelated` gives."""
        ...

    def spectrum(self, delta: Delta) -> Float[Tensor, " k"]:
        """All singular values, largest first, as `linalg.spectrum.singular_values` gives them."""
        ...


class Nothing:
    """Knows nothing, and computes."""

    def top_directions(self, delta: Delta, count: int) -> Directions:
        """Decompose the task vector."""
        return svd.top_directions(delta, count)

    def decorrelated(self, matrix: Float[Tensor, "m n"]) -> tuple[Float[Tensor, "m n"], bool]:
        """Compute the polar factor."""
        return polar.decorrelated(matrix)

    def spectrum(self, delta: Delta) -> Float[Tensor, " k"]:
        """Compute the singular values."""
        return singular_values(delta)


NOTHING = Nothing()


class Recalled(list[Directions]):
    """The directions of all tasks, with what may know the polar factors of their sides."""

    def __init__(self, directions: Sequence[Directions], recall: Recall) -> None:
        super().__init__(directions)
        self.recall = recall
