"""Merges row by row."""

from __future__ import annotations

from typing import ClassVar

from mergeometry.methods.families.cost import Sizes, Work
from mergeometry.methods.families.elementwise import Elementwise
from mergeometry.methods.families.method import Pieces

_TOGETHER = 1 << 20
"""Entries of which a method has float64 copies at a time."""


class Rowwise(Elementwise):
    """A merge of each row of a matrix from the same row of every task alone.

    The engine may pass a few rows at a time: they merge as they would within the whole matrix.
    """

    family: ClassVar[str] = "rowwise"

    @property
    def pieces(self) -> Pieces:
        """Each row depends on no other."""
        return "rows"

    def cost(self, sizes: Sizes) -> Work:
        """A few float64 copies of one task's rows in addition."""
        return super().cost(sizes) + Work(0.0, 32 * min(sizes.step or sizes.elements, _TOGETHER))
