"""Which items of a source are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Return at most ``limit`` of the items, evenly spread: sources are often sorted by their labels."""
    if limit is None or len(items) <= limit:
        return tuple(items)
    return tuple(items[place * len(items) // limit] for place in range(limit))


def note_of_limit(used: int, there: int) -> tuple[str, ...]:
    """Return a note for the record if not all items are used."""
    return () if used == there else (f"{used:,} of {there:,} are used, evenly spread",)
