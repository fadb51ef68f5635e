"""Task vectors that are made when they are asked for, and never kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from mergeometry.values import Delta


class OnDemand(Sequence[Delta]):
    """A sequence whose subclass makes the task vector at one place."""

    @abstractmethod
    def at(self, index: int) -> Delta:
        """Make the task vector of the model at this place, counted from 0."""

    @overload
    def __getitem__(self, index: int) -> Delta: ...

    @overload
    def __getitem__(self, index: slice) -> list[Delta]: ...

    def __getitem__(self, index: int | slice) -> Delta | list[Delta]:
        if isinstance(index, slice):
            return [self.at(place) for place in range(*index.indices(len(self)))]
        return self.at(range(len(self))[index])
