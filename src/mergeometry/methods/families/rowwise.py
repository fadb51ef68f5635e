"""Merges row by row."""

from __future__ import annotations

from typing import ClassVar

from mergeometry.methods.families.cost import CHUNK_ELEMENTS, Sizes, Work
from mergeometry.methods.families.elementwise import Elementwise
from mergeometry.methods.families.method import Pieces


class Rowwise(Elementwise):
    """A merge of each row of a matrix by that row of every task alone.

    The engine may hand it some rows of a matrix at a time: of them it gives what it gives of them among the others.
    """

    family: ClassVar[str] = "rowwise"

    @property
    def pieces(self) -> Pieces:
        """No row knows of another."""
        return "rows"

    def cost(self, sizes: Sizes) -> Work:
        """A few copies of one task's rows in float64 as well."""
        return super().cost(sizes) + Work(0.0, 32 * min(sizes.step or sizes.elements, CHUNK_ELEMENTS))
