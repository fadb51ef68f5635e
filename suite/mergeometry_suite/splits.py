"""From labelled texts to splits that share no text: duplicates, groups and sizes, one rule for every task.

An encoder that reads 32 tokens sees two documents with the same opening as one text. So texts are compared
by their normalised opening: where labels agree, one text is kept; where they differ, none is.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_OPENING = 80  # characters; 30 word pieces are rarely shorter
_HEAD = re.compile(r".{1,400}(?=\s)", re.DOTALL)
_LINK = re.compile(r"https?://\S+|www\.\S+")
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Example:
    """One text with its class, and the document it is part of: a document is never shared by two splits."""

    text: str
    label: int
    document: str


@dataclass(frozen=True)
class Split:
    """Texts with their classes, in a random order that is always the same."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, count: int) -> Split:
        """Return the first ``count`` texts, which are a random sample, as the order is random."""
        return Split(self.texts[:count], self.labels[:count])


@dataclass(frozen=True)
class Splits:
    """What an expert learns from, what choices are made on, and what is reported."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Sizes:
    """The maximum number of texts of each split."""

    train: int = 2000
    validation: int = 300
    test: int = 500


def opening(text: str) -> str:
    """Return the opening by which texts are compared: links, case, accents, punctuation and tail dropped.

    Accents go because an uncased encoder never sees them: two languages can differ in nothing else.
    """
    # A long text's head is mostly enough. It ends before white space, so that no link or word is cut.
    head = _HEAD.match(text)
    words = _words(head[0]) if head else ""
    if len(words) < _OPENING:
        words = _words(text)
    return words[:_OPENING].strip() or text.strip()


def _words(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _LINK.sub(" ", text.casefold()))
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _NO_WORD.sub(" ", letters).strip()


def unique(examples: Iterable[Example]) -> list[Example]:
    """Keep one example of each opening, and none of an opening that occurs with two classes."""
    kept: dict[str, Example] = {}
    contradicted: set[str] = set()
    for example in examples:
        first = kept.setdefault(opening(example.text), example)
        if first.label != example.label:
            contradicted.add(opening(example.text))
    return [example for key, example in kept.items() if key not in contradicted]


def thin(examples: Iterable[Example], most: int) -> list[Example]:
    """Keep at most ``most`` examples of a class, chosen at random, always the same."""
    seen: Counter[int] = Counter()
    kept: list[Example] = []
    for example in sorted(examples, key=lambda example: by_rank(example.text)):
        seen[example.label] += 1
        if seen[example.label] <= most:
            kept.append(example)
    return kept


def partition(examples: Iterable[Example], sizes: Sizes) -> Splits:
    """Split by document where a source has no official test set."""
    pools = _deal(unique(examples), (sizes.test, sizes.validation))
    test, validation, rest = pools
    return Splits(_split(rest, sizes.train), _split(validation, sizes.validation), _split(test, sizes.test))


def official(train: Iterable[Example], test: Iterable[Example], sizes: Sizes) -> Splits:
    """Keep a source's own test set, and take validation texts from its training set.

    A text of both sets counts as a training text and leaves the test set.
    """
    training = unique(train)
    known = {opening(example.text) for example in training}
    testing = [example for example in unique(test) if opening(example.text) not in known]
    validation, rest = _deal(training, (sizes.validation,))
    return Splits(_split(rest, sizes.train), _split(validation, sizes.validation), _split(testing, sizes.test))


def official_beside(other: Splits, train: Iterable[Example], test: Iterable[Example], sizes: Sizes) -> Splits:
    """Keep a source's own test set, and put every text that another task shares into the split that it has there.

    So no expert of one task is trained on a text that the other is scored on. The only text of a class is used for
    training.
    """
    places = {opening(text): "train" for text in other.train.texts}
    places |= {opening(text): "validation" for text in other.validation.texts}
    places |= {opening(text): "test" for text in other.test.texts}
    training = [example for example in unique(train) if places.get(opening(example.text)) != "test"]
    known = {opening(example.text) for example in training}
    testing = [
        example
        for example in unique(test)
        if opening(example.text) not in known and places.get(opening(example.text), "test") == "test"
    ]
    counts = Counter(example.label for example in training)
    pools: dict[str, list[Example]] = {"train": [], "validation": [], "free": []}
    for example in training:
        pools[places.get(opening(example.text), "train" if counts[example.label] == 1 else "free")].append(example)
    validation, rest = _deal(pools["free"], (sizes.validation - len(pools["validation"]),))
    return Splits(
        _split([*pools["train"], *rest], sizes.train),
        _split([*pools["validation"], *validation], sizes.validation),
        _split(testing, sizes.test),
    )


def _deal(examples: Sequence[Example], counts: Sequence[int]) -> list[list[Example]]:
    documents: dict[str, list[Example]] = {}
    for example in examples:
        documents.setdefault(example.document, []).append(example)
    pools: list[list[Example]] = [[] for _ in range(len(counts) + 1)]
    current = 0
    for document in sorted(documents, key=by_rank):
        if current < len(counts) and len(pools[current]) >= counts[current]:
            current += 1
        pools[current].extend(documents[document])
    return pools


def _split(examples: Iterable[Example], most: int) -> Split:
    chosen = sorted(examples, key=lambda example: by_rank(example.text))[:most]
    return Split(tuple(example.text for example in chosen), tuple(example.label for example in chosen))


def by_rank(text: str) -> bytes:
    """Return the key that puts texts into random order: a hash, so that it depends only on the text itself."""
    return hashlib.sha256(b"mergeometry\0" + text.encode()).digest()
