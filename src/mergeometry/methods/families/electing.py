"""The election of signs, on the entries that a method keeps of each task vector, a piece at a time."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.order import LargestMagnitudes
from mergeometry.linalg.selection import Vote, next_below, shrunk
from mergeometry.linalg.streams import Drop
from mergeometry.methods.families.piecewise import Piecewise, Scratch


class Trimming(Piecewise):
    """Trims each task vector to as many of its ``size`` entries as its count says, elects, averages what agrees."""

    def __init__(self, weights: Sequence[float], counts: Sequence[int], size: int) -> None:
        self._searches = {place: LargestMagnitudes([count]) for place, count in enumerate(counts) if count < size}
        self._bounds: dict[int, float] = {}
        self._vote, self._kept = Vote(weights), [Scratch() for _ in weights]

    @property
    def measuring(self) -> bool:
        """Whether the smallest entry to keep of each task vector is still sought."""
        return any(search.unfinished for search in self._searches.values())

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        """Count magnitudes."""
        for place, search in self._searches.items():
            search.add(deltas[place])

    def measured(self) -> None:
        """Narrow the search."""
        for place, search in self._searches.items():
            search.end_pass()
            if not search.unfinished:
                self._bounds[place] = next_below(search.magnitudes[0], search.dtype)

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Trim and elect."""
        kept = list(deltas)
        for place, bound in self._bounds.items():
            kept[place] = shrunk(deltas[place], bound, self._kept[place].like(deltas[place]))
        return self._vote(kept)


class Dropping(Piecewise):
    """Drops entries of each task vector at random, elects, and averages what agrees."""

    def __init__(
        self, weights: Sequence[float], keys: Sequence[int], densities: Sequence[float], *, rescale: bool
    ) -> None:
        self._drops = [Drop(key, one, rescale=rescale) for key, one in zip(keys, densities, strict=True)]
        self._vote, self._kept = Vote(weights), [Scratch() for _ in weights]

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Drop and elect."""
        places = zip(deltas, self._drops, self._kept, strict=True)
        return self._vote([drop(delta, kept.like(delta)) for delta, drop, kept in places])
