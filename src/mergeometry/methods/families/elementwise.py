"""Merges entry by entry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.method import Method
from mergeometry.methods.families.weights import dense_deltas
from mergeometry.values import Delta


class Elementwise(Method):
    """A merge of each entry, alone or compared with the tensor's other entries; any shape, dense."""

    family: ClassVar[str] = "elementwise"
    scale_rule: ClassVar[str] = "projection"

    @property
    def stays_low_rank(self) -> bool:
        """Merging entry by entry does not keep the rank."""
        return False

    @abstractmethod
    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Merge dense task vectors; inputs are left unchanged."""

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Multiply out low-rank task vectors, then merge."""
        return Held(lambda deltas: self.merge(dense_deltas(deltas), weights))
