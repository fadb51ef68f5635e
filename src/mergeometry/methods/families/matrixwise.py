"""Merges of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mergeometry.methods.families.method import Method


class Matrixwise(Method):
    """A merge of the 2-D weights of linear maps only."""

    family: ClassVar[str] = "matrixwise"
    matrices_only: ClassVar[bool] = True

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are not matrices."""
        super().check(tasks, shape, weights)
        if len(shape) != 2:
            raise ValueError(f"needs a matrix, but the shape is {list(shape)}")
