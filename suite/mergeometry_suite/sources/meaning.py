"""What a WordNet gloss defines (Miller, CACM 1995): an animal, an act, a way to move and so on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mergeometry_suite.packages import WORDNET, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

# The lexicographers' files by number (man lexnames, section 5WN): of nouns those with 600 synsets or more, of verbs
# all but the one of 81 synsets on the weather.
_NOUNS = {
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
_VERBS = {
    "29": "body",
    "30": "change",
    "31": "cognition",
    "32": "communication",
    "33": "competition",
    "34": "consumption",
    "35": "contact",
    "36": "creation",
    "37": "emotion",
    "38": "motion",
    "39": "perception",
    "40": "possession",
    "41": "social",
    "42": "being",
}
NOUNS, VERBS = tuple(_NOUNS.values()), tuple(_VERBS.values())


def load_nouns() -> Splits:
    """Split by synset, each of which has one gloss; classes are thinned to one size, so that all count."""
    return partition(thin(unique(_examples("noun", _NOUNS)), 135), Sizes())


def load_verbs() -> Splits:
    """Split in the same way."""
    return partition(thin(unique(_examples("verb", _VERBS)), 200), Sizes())


def _examples(part: str, files: Mapping[str, str]) -> Iterator[Example]:
    for line in (fetch(WORDNET) / f"package/dict/data.{part}").read_text("utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        offset, file = line.split(maxsplit=2)[:2]
        # Definitions first, then sentences that use the word, in quotes.
        definition = line.partition(" | ")[2].partition('; "')[0].strip()
        if file in files and definition:
            yield Example(definition, list(files).index(file), document=part + offset)
