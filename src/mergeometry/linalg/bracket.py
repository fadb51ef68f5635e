"""Order statistics of magnitudes in one pass, between bounds that a sample of the numbers suggests."""

from __future__ import annotations

import math

from mergeometry.deferred import NDArray, np

_DEVIATIONS = 4.0
"""Standard deviations of a sample's rank on either side of the one that is sought."""

_KEPT = 1 << 19
"""Magnitudes between the bounds that are held one by one; of more different ones the bounds are of no use."""

_COMMON = 64
"""Where one of so many magnitudes between the bounds has the same value, these are counted, not held."""

_NONE = -1
"""No magnitude."""


class Bracket:
    """Counts the magnitudes above its bounds and keeps those between them: the one that is sought, if the bounds hold.

    Magnitudes are non-negative integers, a float's bits without its sign; ``count`` is the rank from the largest one.
    The sample has blocks of numbers that lie together, whose spread says how far the sample may be from the whole.
    """

    def __init__(
        self,
        count: int,
        total: int,
        sample: NDArray[np.signedinteger],
        ordered: NDArray[np.signedinteger],
    ) -> None:
        size, share = len(ordered), count / total
        rank = size * (1 - share)
        above = (sample >= ordered[min(size - 1, int(rank))]).mean(axis=1)
        apart = max(math.sqrt(share * (1 - share) / size), float(above.std()) / math.sqrt(len(above)))
        reach = 1 + _DEVIATIONS * size * apart
        least, largest = math.floor(rank - reach), math.ceil(rank + reach)
        self._least = int(ordered[least]) if least >= 0 else 0
        self._largest = int(ordered[largest]) if largest < size else int(np.iinfo(ordered.dtype).max)
        self._common = _most_frequent(ordered[max(0, least) : largest + 1])
        self._count, self._above, self._equal = count, 0, 0
        self._values, self._times = ordered[:0], np.zeros(0, np.int64)
        self._coming: list[NDArray[np.signedinteger]] = []
        self._waiting, self._given_up = 0, False

    def add(self, numbers: NDArray[np.signedinteger], scratch: NDArray[np.signedinteger]) -> None:
        """Take some of the magnitudes; ``scratch`` is memory for as many."""
        if self._given_up:
            return
        self._above += int(np.count_nonzero(numbers > self._largest))
        np.subtract(numbers, self._least, out=scratch)
        unsigned = scratch.view(f"u{scratch.itemsize}")  # what is below the least is huge
        inside = unsigned <= self._largest - self._least
        if self._common != _NONE:
            equal = numbers == self._common
            self._equal += int(np.count_nonzero(equal))
            np.greater(inside, equal, out=inside)
        between = np.compress(inside, numbers)
        self._coming.append(between)
        self._waiting += len(between)
        if self._waiting > _KEPT:
            self._count_equal_ones()

    def found(self) -> int | None:
        """The magnitude of the rank that is sought; None if it lies outside the bounds, or they are of no use."""
        if len(self._values):
            self._count_equal_ones()
            return None if self._given_up else self._among_counted()
        held, rank = np.concatenate([self._values, *self._coming]), self._count - self._above
        if self._given_up or not 1 <= rank <= len(held) + self._equal:
            return None
        larger = int(np.count_nonzero(held > self._common))
        if larger < rank <= larger + self._equal:
            return self._common
        place = len(held) - (rank if rank <= larger else rank - self._equal)
        held.partition(place)
        return int(held[place])

    def _among_counted(self) -> int | None:
        self._add_counts(np.array([self._common], self._values.dtype), np.array([self._equal]))
        larger = self._above + np.cumsum(self._times[::-1])
        place = int(np.searchsorted(larger, self._count))
        return int(self._values[::-1][place]) if self._count > self._above and place < len(larger) else None

    def _count_equal_ones(self) -> None:
        """Task vectors of narrow weights hold few magnitudes, each often: keep how often."""
        values, times = np.unique(np.concatenate([self._values[:0], *self._coming]), return_counts=True)
        self._coming, self._waiting = [], 0
        self._add_counts(values, times)

    def _add_counts(self, values: NDArray[np.signedinteger], times: NDArray[np.int64]) -> None:
        every, places = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        self._times = np.bincount(places, np.concatenate([self._times, times]), len(every)).astype(np.int64)
        self._values, self._given_up = every, len(every) > _KEPT


def _most_frequent(ordered: NDArray[np.signedinteger]) -> int:
    """The number that occurs most often, as many do in task vectors of narrow weights; `_NONE` if none is frequent."""
    values, times = np.unique(ordered, return_counts=True)
    most = times.argmax()
    return int(values[most]) if times[most] * _COMMON > len(ordered) else _NONE
