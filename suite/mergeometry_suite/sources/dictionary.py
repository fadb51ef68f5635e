"""A dictionary: the words of WordNet's synsets with what they mean, in the order of its files."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry_suite.packages import WORDNET, fetch
from mergeometry_suite.splits import Example

_BLOCK = 50  # synsets; neighbours are related, so one block is one document


def read_definitions() -> Iterator[Example]:
    """Every noun's and verb's entry as "word, other word: meaning" (line format: man wndb, section 5WN).

    A meaning that several entries share is given once, with the first.
    """
    seen = set()
    for part in ("noun", "verb"):
        lines = (fetch(WORDNET) / f"package/dict/data.{part}").read_text("utf-8").splitlines()
        for place, line in enumerate(line for line in lines if not line.startswith("  ")):  # without the licence
            fields = line.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            # Definitions first, then sentences that use the word, in quotes.
            meaning = line.partition(" | ")[2].partition('; "')[0].strip()
            if meaning and meaning not in seen:
                seen.add(meaning)
                entry = f"{', '.join(word.replace('_', ' ') for word in words)}: {meaning}"
                yield Example(entry, 0, document=f"{part} {place // _BLOCK}")
