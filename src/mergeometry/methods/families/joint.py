"""Merges of all task vectors together, dense or low-rank."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.method import Method
from mergeometry.values import Delta


class Joint(Method):
    """A merge of all task vectors of any shape together, each dense or low-rank as it comes."""

    family: ClassVar[str] = "joint"

    @abstractmethod
    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Merge task vectors, dense or low-rank; inputs are left unchanged."""

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold them all."""
        return Held(lambda deltas: self.merge(deltas, weights))
