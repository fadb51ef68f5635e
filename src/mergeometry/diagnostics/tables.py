"""Rows of a table that few models moved: words that only one of them trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class MovedRows:
    """Counts of a table's rows; those of two parts of it add up."""

    by: tuple[int, ...]
    """Rows that exactly 0, 1, ..., T models moved."""
    alone: tuple[int, ...]
    """Rows that each model alone moved."""

    def __add__(self, other: MovedRows) -> MovedRows:
        by = tuple(map(sum, zip(self.by, other.by, strict=True)))
        return MovedRows(by, tuple(map(sum, zip(self.alone, other.alone, strict=True))))


def moved_rows(deltas: Sequence[Float[Tensor, "rows n"]]) -> MovedRows:
    """Count the rows by how many models moved them; a row is moved if any entry of it is."""
    moved = torch.stack([(delta != 0).any(dim=1) for delta in deltas])
    count = moved.sum(dim=0)
    by = torch.bincount(count, minlength=len(deltas) + 1)
    alone = (moved & (count == 1)).sum(dim=1)
    return MovedRows(tuple(map(int, by)), tuple(map(int, alone)))
