"""Terms of computing, by the field that the Free On-line Dictionary of Computing gives them (Howe, since 1985)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

from mergeometry_suite.packages import FOLDOC, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition, thin, unique

# The fields with 120 entries or more, but for "company", whose entries are mostly names and addresses.
CLASSES = (
    "language",
    "networking",
    "programming",
    "jargon",
    "operating system",
    "hardware",
    "communications",
    "mathematics",
    "storage",
    "tool",
    "database",
    "body",
    "processor",
    "computer",
    "character",
    "web",
    "messaging",
)
_MOST = 230
_FEWEST_WORDS = 5
# The first of an entry's meanings, after its words: "   <hardware, standard> A version of ...".
_MEANING = re.compile(r"^   (?:1\. )?<([^>\n]+)>(?: ?\([^)]*\))?\s+(.+?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
_LETTERS = re.compile(r"[^a-z]+")


def load() -> Splits:
    """Split by the first word of what is defined, so that all versions of one product stay together."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    text = gzip.decompress((fetch(FOLDOC) / "usr/share/dictd/foldoc.dict.dz").read_bytes()).decode("utf-8", "replace")
    # An entry begins with its words at the start of a line, after an empty one.
    for entry in re.split(r"\n\n(?=\S)", text):
        found = _MEANING.search(entry)
        if found is None:
            continue
        field = found[1].partition(",")[0].strip()
        meaning = " ".join(re.sub(r"[{}]", "", found[2]).split())
        if field in CLASSES and len(meaning.split()) >= _FEWEST_WORDS:
            words = [_LETTERS.sub("", word) for word in entry.partition("\n")[0].casefold().split()]
            first = next((word for word in words if word), entry.partition("\n")[0])
            yield Example(meaning, CLASSES.index(field), document=first)
