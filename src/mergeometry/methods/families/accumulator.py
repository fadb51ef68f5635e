"""What a merge gathers while it takes the task vectors of one tensor, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mergeometry.linalg.svd import top_directions
from mergeometry.values import Delta, Directions

Result = TypeVar("Result")


class Accumulator(ABC, Generic[Result]):
    """Takes every task vector of one tensor in the models' order, keeps what its family needs of each, then merges.

    Methods are frozen, so this is where the state of a merge lives: one accumulator per tensor, asked once.
    """

    @abstractmethod
    def take(self, index: int, delta: Delta) -> None:
        """Take the task vector of the model at this place, and leave it as it is."""

    @abstractmethod
    def result(self) -> Result:
        """What the task vectors come to, after the last was taken."""

    @property
    def held(self) -> Sequence[Delta]:
        """The task vectors themselves where it keeps them all, for whoever needs them next; else none."""
        return ()


class Held(Accumulator[Result]):
    """Keeps every task vector, and merges them together in the end."""

    def __init__(self, merge: Callable[[list[Delta]], Result]) -> None:
        self._merge = merge
        self._deltas: list[Delta] = []

    def take(self, index: int, delta: Delta) -> None:
        """Keep it."""
        self._deltas.append(delta)

    def result(self) -> Result:
        """The merge of all of them."""
        return self._merge(self._deltas)

    @property
    def held(self) -> Sequence[Delta]:
        """All of them."""
        return self._deltas


class LeadingDirections(Accumulator[Result]):
    """Keeps the leading singular triplets of each task vector, times its model's weight, and lets the matrix go.

    Several accumulators can share one decomposition: the largest ``count`` of them is cut to each one's own.
    """

    def __init__(
        self, weights: Sequence[float], count: Callable[[Delta], int], merge: Callable[[list[Directions]], Result]
    ) -> None:
        self._weights = weights
        self._merge = merge
        self._directions: list[Directions] = []
        self.count = count
        """How many triplets of a task vector it keeps."""

    def take(self, index: int, delta: Delta) -> None:
        """Decompose it."""
        self.take_directions(index, top_directions(delta, self.count(delta)))

    def take_directions(self, index: int, directions: Directions) -> None:
        """Take the leading triplets, as many as `count` says, from whoever has decomposed the task vector."""
        self._directions.append(directions.scaled(self._weights[index]))

    def result(self) -> Result:
        """The merge of all triplets."""
        return self._merge(self._directions)


def accumulate(accumulator: Accumulator[Result], count: int, read: Callable[[int], Delta]) -> Result:
    """Hand over so many task vectors, each read when its turn comes, and return the result."""
    # Not by iteration: a loop's variable would hold one task vector while the next is read, or all are merged.
    for index in range(count):
        accumulator.take(index, read(index))
    return accumulator.result()
