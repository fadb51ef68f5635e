"""What a merge collects as it takes the task vectors of one tensor, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mergeometry.linalg.batches import joins_batch, top_directions_of
from mergeometry.linalg.recall import NOTHING, Recall, Recalled
from mergeometry.values import Delta, Directions, LowRank

Result = TypeVar("Result")


class Accumulator(ABC, Generic[Result]):
    """Takes every task vector of one tensor in the models' order, keeps what its family needs of each, then merges.

    Methods are frozen, so this is where the state of a merge lives: one accumulator per tensor, used once.
    """

    @abstractmethod
    def take(self, index: int, delta: Delta) -> None:
        """Take the task vector of the model at this index, without changing it."""

    @abstractmethod
    def result(self) -> Result:
        """The outcome, once the last task vector was taken."""

    @property
    def held(self) -> Sequence[Delta]:
        """The task vectors, where it keeps them all, for the steps that follow; else empty."""
        return ()


class Held(Accumulator[Result]):
    """Keeps every task vector, and merges them all at the end."""

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


class Weighing(Accumulator[Result]):
    """Multiplies each task vector by its model's weight before another accumulator takes it."""

    def __init__(self, accumulator: Accumulator[Result], weights: Sequence[float]) -> None:
        self._accumulator, self._weights = accumulator, weights

    def take(self, index: int, delta: Delta) -> None:
        """Pass on the product; the task vector itself stays as it is."""
        weight = self._weights[index]
        self._accumulator.take(index, delta.scaled(weight) if isinstance(delta, LowRank) else delta * weight)

    def result(self) -> Result:
        """The other's outcome."""
        return self._accumulator.result()


class Changing(Accumulator[Result]):
    """Passes on what becomes of each task vector, and holds none: whoever asks for them later wants those that came."""

    def __init__(self, accumulator: Accumulator[Result], change: Callable[[Delta], Delta]) -> None:
        self._accumulator, self._change = accumulator, change

    def take(self, index: int, delta: Delta) -> None:
        """Change it, and pass it on; the task vector itself stays as it is."""
        self._accumulator.take(index, self._change(delta))

    def result(self) -> Result:
        """The other's outcome."""
        return self._accumulator.result()


class LeadingDirections(Accumulator[Result]):
    """Keeps the leading singular triplets of each task vector, times its model's weight, and releases the matrix.

    Several accumulators can share one decomposition: take the largest ``count`` among them, and cut it to each one's.
    """

    def __init__(
        self, weights: Sequence[float], count: Callable[[Delta], int], merge: Callable[[list[Directions]], Result]
    ) -> None:
        self._weights = weights
        self._merge = merge
        self._directions: list[Directions] = []
        self._waiting: list[tuple[int, Delta]] = []
        self.count = count
        """How many triplets of a task vector it keeps."""
        self.recall: Recall = NOTHING
        """What it asks for decompositions."""

    def take(self, index: int, delta: Delta) -> None:
        """Decompose it; on another device, small ones wait to be decomposed together."""
        if joins_batch(delta):
            self._waiting.append((index, delta))
            return
        self._decompose_waiting()
        self.take_directions(index, self.recall.top_directions(delta, self.count(delta)))

    def take_directions(self, index: int, directions: Directions) -> None:
        """Take the leading triplets, as many as `count` says, of a task vector that the caller has decomposed."""
        self._directions.append(directions.scaled(self._weights[index]))

    def result(self) -> Result:
        """The merge of all triplets."""
        self._decompose_waiting()
        return self._merge(Recalled(self._directions, self.recall))

    def _decompose_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        deltas = [delta for _, delta in waiting]
        found = top_directions_of(deltas, [self.count(delta) for delta in deltas])
        for (index, _), directions in zip(waiting, found, strict=True):
            self.take_directions(index, directions)


def accumulate(accumulator: Accumulator[Result], count: int, read: Callable[[int], Delta]) -> Result:
    """Pass ``count`` task vectors to the accumulator, each read when its turn comes, and return the result."""
    # By index: a loop variable would keep one task vector alive while the next is read or all are merged.
    for index in range(count):
        accumulator.take(index, read(index))
    return accumulator.result()
