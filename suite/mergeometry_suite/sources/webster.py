"""Definitions of Webster's dictionary of 1913, by the field of knowledge that it puts before them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

from mergeometry_suite.packages import GCIDE, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

# The dictionary's abbreviations of the fields with 250 definitions or more.
_FIELDS = {
    "Zool": "zoology",
    "Bot": "botany",
    "Chem": "chemistry",
    "Med": "medicine",
    "Anat": "anatomy",
    "Naut": "seafaring",
    "Min": "minerals",
    "Biol": "biology",
    "Mus": "music",
    "Arch": "architecture",
    "Mil": "warfare",
    "Physiol": "physiology",
    "Math": "mathematics",
    "Astron": "astronomy",
    "Geol": "geology",
    "Mach": "machinery",
    "Geom": "geometry",
    "Her": "heraldry",
    "Elec": "electricity",
    "Gram": "grammar",
    "Eccl": "church",
    "Mech": "mechanics",
}
CLASSES = tuple(_FIELDS.values())
_MOST = 130
_FEWEST_WORDS = 4
_SAME_FAMILY = 5  # letters
# "... (Bot.)\n   The plant costmary, ...\n   [1913 Webster]": the mark leaves out what later editors added.
_SENSE = re.compile(rf"\(({'|'.join(_FIELDS)})\.\)\s+((?:(?!\n\n).)+?)\s+\[1913 Webster\]", re.DOTALL)
_LETTERS = re.compile(r"[^a-z]+")
_TAIL = re.compile(r"\s--[A-Z][^-]*$")  # whom an example is quoted from


def load() -> Splits:
    """Split by the first letters of the word, so that a word and those derived from it stay together."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    text = gzip.decompress((fetch(GCIDE) / "usr/share/dictd/gcide.dict.dz").read_bytes()).decode("utf-8", "replace")
    # An entry begins with its word at the start of a line, after an empty one.
    for entry in re.split(r"\n\n(?=\S)", text):
        word = _LETTERS.sub("", entry.partition("\\")[0].casefold())[:_SAME_FAMILY]
        for field, meaning in _SENSE.findall(entry):
            plain = _TAIL.sub("", " ".join(re.sub(r"[{}]", "", meaning).split()))
            if word and len(plain.split()) >= _FEWEST_WORDS and "(" not in plain[:3]:
                yield Example(plain, CLASSES.index(_FIELDS[field]), document=word)
