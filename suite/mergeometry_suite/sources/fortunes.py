"""Quips that a Unix system greets its users with, by the collection that they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mergeometry_suite.packages import FORTUNE_FILES, FORTUNES, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, opening, partition, thin, unique

CLASSES = tuple(name.replace("-", " and ") for name in FORTUNE_FILES)
_MOST = 300
_FEWEST_WORDS = 5
_SAME_SERIES = 24  # characters


def load() -> Splits:
    """Split by opening, so that quips of one series ("Murphy's law number ...") stay together."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    folder = fetch(FORTUNES) / "usr/share/games/fortunes"
    for label, name in enumerate(FORTUNE_FILES):
        for quip in re.split(r"^%$", (folder / name).read_text("utf-8"), flags=re.MULTILINE):
            words = quip.split()
            if len(words) >= _FEWEST_WORDS:
                text = " ".join(words)
                yield Example(text, label, document=opening(text)[:_SAME_SERIES])
