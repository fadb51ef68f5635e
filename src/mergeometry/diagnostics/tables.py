"""Rows of a table that few models moved: words that only one of them trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import torch
from mergeometry.linalg.shrinkage import RowMovements


@dataclass(frozen=True, slots=True)
class MovedRows:
    """Counts of a table's rows, and the factor by which each model shrank those that it did not move."""

    by: tuple[int, ...]
    """Rows that exactly 0, 1, ..., T models moved."""
    alone: tuple[int, ...]
    """Rows that each model alone moved."""
    shrinkage: tuple[float, ...]
    """Each model's; 0 for a model that left rows exactly as they were."""


def moved_rows(movements: Sequence[RowMovements]) -> MovedRows:
    """Count the rows by how many models moved them, other than by shrinking or rounding the whole table."""
    shrinkages = [each.shrinkage() for each in movements]
    moved = torch.stack([each.moved(fitted) for each, fitted in zip(movements, shrinkages, strict=True)])
    count = moved.sum(dim=0)
    by = torch.bincount(count, minlength=len(movements) + 1)
    alone = (moved & (count == 1)).sum(dim=1)
    return MovedRows(tuple(map(int, by)), tuple(map(int, alone)), tuple(fitted.factor for fitted in shrinkages))
