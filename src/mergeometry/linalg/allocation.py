"""Shares bytes out among lists of things to keep: singular directions, rows, whole tensors.

Every list is kept from its front, since its gains descend, and each of its entries costs the same. A gain is a squared
norm, so that what is kept of several lists adds up.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import NDArray, np


@dataclass(frozen=True, slots=True)
class Gains:
    """What the entries of one list keep, descending, what each of them costs, and how many are kept in any case."""

    values: NDArray[np.float64]
    cost: int
    least: int = 0

    @property
    def useful(self) -> int:
        """Entries that keep anything at all."""
        return int((self.values > 0).sum())


def counts_for_share(lists: Sequence[Gains], share: float) -> list[int]:
    """How many entries of each list keep this share of the sum of all gains, at the fewest bytes.

    By gain per byte, then without those that are not needed: at most one entry of each list above the optimum.
    """
    order = _Order(lists)
    if share >= 1:
        return [max(one.least, one.useful) for one in lists]
    total = sum(float(one.values.sum()) for one in lists)
    missing = share * total - order.kept
    if missing <= 0:
        return order.counts(0)
    sums = order.gains.cumsum()
    taken = int(np.searchsorted(sums, missing)) + 1
    counts = order.counts(taken)
    spare = float(sums[min(taken, len(sums)) - 1]) - missing if len(sums) else 0.0
    # The dearest entries that the rest can do without.
    for index in sorted(range(len(lists)), key=lambda index: -lists[index].cost):
        one = lists[index]
        while counts[index] > one.least and (gain := float(one.values[counts[index] - 1])) <= spare:
            counts[index] -= 1
            spare -= gain
    return counts


def counts_for_bytes(lists: Sequence[Gains], budget: int) -> list[int]:
    """How many entries of each list keep most within a number of bytes; by gain per byte, then what still fits."""
    order = _Order(lists)
    left = budget - sum(one.cost * one.least for one in lists)
    if left < 0:
        return order.counts(0)
    spent = order.costs.cumsum()
    taken = int(np.searchsorted(spent, left, side="right"))
    counts = order.counts(taken)
    left -= int(spent[taken - 1]) if taken else 0
    waiting = [(-_next(one, counts[index]), index) for index, one in enumerate(lists)]
    heapq.heapify(waiting)
    while waiting:
        rate, index = heapq.heappop(waiting)
        if rate < 0 and lists[index].cost <= left:
            left -= lists[index].cost
            counts[index] += 1
            heapq.heappush(waiting, (-_next(lists[index], counts[index]), index))
    return counts


def counts_at_rate(lists: Sequence[Gains], rate: float) -> list[int]:
    """How many entries of each list keep at least ``rate`` for each byte, of those that keep anything."""
    worth = [int((one.values >= rate * one.cost).sum()) for one in lists]
    return [max(one.least, min(count, one.useful)) for one, count in zip(lists, worth, strict=True)]


class _Order:
    """The entries that may be chosen, by gain per byte; of equals the earlier list's first."""

    def __init__(self, lists: Sequence[Gains]) -> None:
        self._lists = lists
        free = [one.values[one.least : max(one.least, one.useful)] for one in lists]
        owners = np.repeat(np.arange(len(lists)), [len(values) for values in free])
        gains, costs = np.concatenate(free), np.array([one.cost for one in lists], dtype=np.int64)[owners]
        order = np.argsort(-gains / costs, kind="stable")
        self.gains, self.costs, self._owners = gains[order], costs[order], owners[order]
        self.kept = sum(float(one.values[: one.least].sum()) for one in lists)

    def counts(self, taken: int) -> list[int]:
        """The lengths that the first ``taken`` entries of the order make."""
        more = np.bincount(self._owners[:taken], minlength=len(self._lists)).tolist()
        return [one.least + extra for one, extra in zip(self._lists, more, strict=True)]


def _next(one: Gains, count: int) -> float:
    """Gain per byte of a list's next entry; 0 where there is none."""
    return float(one.values[count]) / one.cost if count < len(one.values) else 0.0
