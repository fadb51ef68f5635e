"""Merges of what a method keeps of each task vector, a piece at a time: trimmed, masked, or drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.election import Vote, agreeing, elected_mean, elected_shares, total_of
from mergeometry.linalg.order import LargestMagnitudes
from mergeometry.linalg.selection import between, next_below, shrunk
from mergeometry.linalg.streams import Drop, RankedDrop
from mergeometry.methods.families.cost import PIECE_ELEMENTS
from mergeometry.methods.families.piecewise import Piecewise, Scratch, Sum
from mergeometry.values import Delta

Keep: TypeAlias = Callable[[Tensor, Sequence[float], Tensor], Tensor]
"""Keeps the entries within some magnitudes, into the memory that is the last argument."""

Combine: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""Merges the kept entries of all tasks; what it returns is valid until its next call."""


def elected(weights: Sequence[float], *, normalize: bool) -> Combine:
    """Elect a sign for each entry; average the tasks that have it, or add them."""
    return Vote(weights) if normalize else lambda kept: total_of(agreeing(kept, weights))


def elected_whole(
    kept: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float], *, normalize: bool
) -> Float[Tensor, "*shape"]:
    """What `elected` gives of whole tensors."""
    return elected_mean(kept, kept[0].numel(), weights) if normalize else total_of(agreeing(kept, weights))


def elected_by_task(
    kept: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float], *, normalize: bool
) -> list[Delta]:
    """What each task adds to it: its agreeing entries, times its weight, or over the weight of all that agree."""
    if normalize and kept[0].numel():
        return list(elected_shares(kept, kept[0].numel(), weights))
    return list(agreeing(kept, weights))


def added(factors: Sequence[float]) -> Combine:
    """Add the tasks, each times its factor."""
    total = Sum(factors)
    return lambda kept: total.merge(kept, None)


def trimming(counts: Sequence[int], size: int, combine: Combine) -> Piecewise:
    """Trim each task vector to as many of its ``size`` entries as its count says."""
    return Searching([(count,) if count < size else () for count in counts], size, _trim, combine)


def masking(counts: Sequence[tuple[int, int] | None], size: int, combine: Combine) -> Piecewise:
    """Mask each task vector of ``size`` by the magnitudes of two counts; without counts all entries are kept."""
    return Searching([both or () for both in counts], size, _mask, combine)


class Searching(Piecewise):
    """Finds the magnitudes of some counts in each task vector, and then keeps and combines what they bound."""

    samples: ClassVar[bool] = True

    def __init__(self, counts: Sequence[Sequence[int]], size: int, keep: Keep, combine: Combine) -> None:
        self._searches = {place: LargestMagnitudes(some, size) for place, some in enumerate(counts) if some}
        self._bounds: dict[int, Sequence[float]] = {}
        self._keep, self._combine, self._kept = keep, combine, [Scratch() for _ in counts]

    @property
    def measuring(self) -> bool:
        """Whether a magnitude is still sought."""
        return any(search.unfinished for search in self._searches.values())

    def expect(self, sample: Sequence[Float[Tensor, "blocks length"]], elements: int) -> None:
        """Guess where the magnitudes lie."""
        for place, search in self._searches.items():
            search.expect(sample[place], elements)

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        """Count magnitudes."""
        for place, search in self._searches.items():
            if search.unfinished:
                search.add(deltas[place])

    def measured(self) -> None:
        """Narrow the search."""
        for place, search in self._searches.items():
            if search.unfinished:
                search.end_pass()
            if not search.unfinished:
                self._bounds[place] = search.magnitudes

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Keep, and combine."""
        kept = list(deltas)
        for place, bounds in self._bounds.items():
            kept[place] = self._keep(deltas[place], bounds, self._kept[place].like(deltas[place]))
        return self._combine(kept)


class Dropping(Piecewise):
    """Drops entries of each task vector at random, and combines what is left."""

    def __init__(self, drops: Sequence[Drop | RankedDrop], combine: Combine, step: int = PIECE_ELEMENTS) -> None:
        self._drops, self._combine, self.step = drops, combine, step
        self._kept = [Scratch() for _ in drops]

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Drop, and combine."""
        places = zip(deltas, self._drops, self._kept, strict=True)
        return self._combine([drop(delta, kept.like(delta)) for delta, drop, kept in places])


def _trim(delta: Tensor, bounds: Sequence[float], out: Tensor) -> Tensor:
    return shrunk(delta, next_below(bounds[0], delta.dtype), out)


def _mask(delta: Tensor, bounds: Sequence[float], out: Tensor) -> Tensor:
    least, largest = bounds
    return between(delta, least, largest, out)
