"""What a WordNet gloss defines (Miller, CACM 1995): an animal, an act, a place and so on."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.suite.packages import WORDNET, fetch
from mergeometry.suite.splits import Example, Sizes, Splits, partition, thin, unique

# The lexicographers' files of nouns with 600 synsets or more, by number (man lexnames, section 5WN).
_FILES = {
    "04": "act",
    "05": "animal",
    "06": "artifact",
    "07": "attribute",
    "08": "body",
    "09": "cognition",
    "10": "communication",
    "11": "event",
    "13": "food",
    "14": "group",
    "15": "location",
    "17": "natural object",
    "18": "person",
    "19": "phenomenon",
    "20": "plant",
    "21": "possession",
    "22": "process",
    "23": "quantity",
    "26": "state",
    "27": "substance",
    "28": "time",
}
CLASSES = tuple(_FILES.values())
_MOST = 135


def load() -> Splits:
    """Split by synset, each of which has one gloss; classes are thinned to one size, so that all count."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    for line in (fetch(WORDNET) / "package/dict/data.noun").read_text("utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        offset, file = line.split(maxsplit=2)[:2]
        # Definitions first, then sentences that use the word, in quotes.
        definition = line.partition(" | ")[2].partition('; "')[0].strip()
        if file in _FILES and definition:
            yield Example(definition, list(_FILES).index(file), document=offset)
