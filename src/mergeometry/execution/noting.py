"""Warnings that become notes of a run, in place of lines on standard error."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mergeometry.words import counted


@contextmanager
def noting(*kinds: type[Warning]) -> Iterator[list[str]]:
    """Collect the texts of these warnings, which the list holds once the block has ended; others are not shown."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        for kind in kinds:
            warnings.simplefilter("always", kind)
        yield notes
    notes += [str(item.message) for item in caught if item.category in kinds]


def summed(notes: Iterable[str]) -> tuple[str, ...]:
    """Each note once, with how often it was made."""
    return tuple(f"{note} ({counted(count, 'time')})" for note, count in Counter(notes).items())
