"""Merges entry by entry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.method import Method, dense_deltas
from mergeometry.values import Delta


class Elementwise(Method):
    """A merge of each entry, or of entries against the tensor's others; any shape, dense."""

    family: ClassVar[str] = "elementwise"
    scale_rule: ClassVar[str] = "projection"

    @property
    def stays_low_rank(self) -> bool:
        """Entries know of no rank."""
        return False

    @abstractmethod
    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Merge dense task vectors; inputs stay as they are."""

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Form what is low-rank, then merge."""
        return Held(lambda deltas: self.merge(dense_deltas(deltas), weights))
