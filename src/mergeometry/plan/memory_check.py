"""Refuses, before anything is read, what would not fit into memory."""

from __future__ import annotations

from mergeometry.errors import RecipeError
from mergeometry.plan.machine import available_memory


def refuse_beyond_memory(work: str, expected: int, limit: int | None, *, hint: str) -> None:
    """Check that work which takes so many bytes fits into memory, of which the user may allow less by ``limit``.

    Raises:
        RecipeError: the estimate exceeds the memory that there is.
    """
    available = available_memory(limit)
    if available and expected > available:
        raise RecipeError(
            f"{work} would take about {expected / 1e9:.1f} GB of memory, and there are {available / 1e9:.1f} GB",
            hint=hint,
        )
