"""The tasks are real, of fair sizes, the same every time, and no split knows a text of another."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import permutations

import pytest

from mergeometry.errors import DataError
from mergeometry_suite.backbone import PIECES, backbone
from mergeometry_suite.command import list_tasks
from mergeometry_suite.minilm import Tokenizer
from mergeometry_suite.sources import (
    addresses,
    computing,
    docstrings,
    fortunes,
    meaning,
    scripture,
    sentiment,
    spam,
    webster,
)
from mergeometry_suite.splits import (
    Example,
    Sizes,
    Split,
    Splits,
    official,
    official_beside,
    opening,
    partition,
    thin,
    unique,
)
from mergeometry_suite.tasks import TASKS, TEXT_8, TEXT_14, TEXT_20, find_task, load

pytestmark = pytest.mark.suite

FINGERPRINTS = {
    "trec": "97da7d7bcae0da7e",
    "movie": "3c771e1f174590d3",
    "amazon": "073c34f900771f7e",
    "tweets": "86e9bd16ef9edae1",
    "newsgroups": "6b2ee559ad006793",
    "r8": "b9d44f0cfe7021bb",
    "election": "2bd00f7aa44c6595",
    "language": "9ad37e98b9749686",
    "sms": "110948d58d93b33c",
    "nyt": "833d1d24977e11bd",
    "r52": "88e4384587fd23b4",
    "nouns": "eaba4d370cff0b17",
    "verbs": "4944f105aea0f226",
    "bible": "2c5667e38628dce2",
    "webster": "63c27a589fbfa7bf",
    "computing": "c0f1da51b428bcd8",
    "docstrings": "8434f97ac3a63d2e",
    "fortunes": "425d391508b9389e",
    "addresses": "854ed5c15bb5946a",
    "website": "b38db7d70425fbd5",
}

every_task = pytest.mark.parametrize("name", TASKS)


@cache
def texts_of(name: str) -> Splits:
    return load(name)


def parts(splits: Splits) -> tuple[Split, Split, Split]:
    return splits.train, splits.validation, splits.test


@every_task
def test_sizes_and_labels(name: str) -> None:
    train, validation, test = parts(texts_of(name))
    assert 1300 <= len(train) <= 3000
    assert (len(validation), len(test)) == (300, 500)
    classes = range(len(TASKS[name].classes))
    assert set(train.labels) == set(classes)
    for split in (validation, test):
        assert len(split.labels) == len(split.texts)
        assert set(split.labels) <= set(classes)
        assert max(Counter(split.labels).values()) < 0.85 * len(split)
    assert all(text.strip() for split in parts(texts_of(name)) for text in split.texts)


@every_task
def test_no_split_knows_a_text_of_another(name: str) -> None:
    openings = [[opening(text) for text in split.texts] for split in parts(texts_of(name))]
    together = [text for split in openings for text in split]
    assert len(together) == len(set(together))


@every_task
def test_no_two_splits_share_what_the_encoder_reads(name: str) -> None:
    tokenizer = Tokenizer(backbone(), PIECES)
    train, validation, test = (set(map(tuple, tokenizer.pieces(split.texts))) for split in parts(texts_of(name)))
    assert not train & test
    assert not train & validation
    assert not validation & test


@every_task
def test_the_same_texts_every_time(name: str) -> None:
    digest = hashlib.sha256(repr(parts(texts_of(name))).encode()).hexdigest()[:16]
    assert digest == FINGERPRINTS[name], f"{name} reads other texts than those its expert was trained on"


def test_the_suites_are_lists_of_tasks_and_the_small_one_comes_first() -> None:
    assert [task.name for task in list_tasks()] == list(TEXT_8) == list(FINGERPRINTS)[:8]
    assert [task.name for task in list_tasks("text-14")] == list(TEXT_14) == list(FINGERPRINTS)[:14]
    assert [task.name for task in list_tasks("text-20")] == list(TEXT_20) == list(FINGERPRINTS)
    with pytest.raises(DataError, match="no text suite 'text-9'"):
        list_tasks("text-9")


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("amazon", lambda: sentiment._examples("amazonReviewSnippets")),
        ("nyt", lambda: sentiment._examples("nytEditorialSnippets")),
        ("sms", spam._examples),
        ("nouns", lambda: meaning._examples("noun", meaning._NOUNS)),
        ("verbs", lambda: meaning._examples("verb", meaning._VERBS)),
        ("bible", scripture._examples),
        ("webster", webster._examples),
        ("computing", computing._examples),
        ("docstrings", docstrings._examples),
        ("fortunes", fortunes._examples),
        ("addresses", addresses._examples),
    ],
)
def test_a_document_stays_in_one_split(name: str, examples: Callable[[], Iterable[Example]]) -> None:
    documents = {example.text: example.document for example in unique(examples())}
    train, validation, test = ({documents[text] for text in split.texts} for split in parts(texts_of(name)))
    assert len(test) > 40
    assert not train & test
    assert not train & validation
    assert not validation & test


def test_what_one_task_learns_from_no_other_is_judged_by() -> None:
    # "wow" and "don't waste your money" are no documents: several reviewers wrote them.
    openings = {
        name: [{opening(text) for text in split.texts if len(opening(text)) > 24} for split in parts(texts_of(name))]
        for name in TASKS
    }
    for one, other in permutations(TASKS, 2):
        for place, theirs in permutations(range(3), 2):
            assert not openings[one][place] & openings[other][theirs], (one, other)
    shared = {(one, other) for one, other in permutations(TASKS, 2) if openings[one][0] & openings[other][0]}
    # Two of one newswire; and both dictionaries know an inflammation of the retina.
    assert shared == {("r8", "r52"), ("r52", "r8"), ("nouns", "webster"), ("webster", "nouns")}


def test_a_gloss_is_a_definition_without_its_uses() -> None:
    nouns = meaning._examples("noun", meaning._NOUNS)
    glosses = {example.text: meaning.NOUNS[example.label] for example in nouns}
    assert glosses["a member of the genus Canis (probably descended from the common wolf) that has been "
                   "domesticated by man since prehistoric times; occurs in many breeds"] == "animal"  # fmt: skip


def test_a_verse_is_whole_and_in_its_part() -> None:
    verses = {example.text: scripture.CLASSES[example.label] for example in scripture._examples()}
    assert verses["In the beginning God created the heaven and the earth."] == "law"
    assert verses["The grace of our Lord Jesus Christ be with you all. Amen."] in scripture.CLASSES
    assert len(verses) > 29000


def test_what_is_read_is_the_text_and_its_label() -> None:
    definitions = {example.text: webster.CLASSES[example.label] for example in webster._examples()}
    assert definitions["The plant costmary, which was formerly much used for flavoring ale."] == "botany"
    terms = {example.text: computing.CLASSES[example.label] for example in computing._examples()}
    assert terms["A version of the 16550 UART. Superseded by the 16650."] == "hardware"
    quips = {example.text: fortunes.CLASSES[example.label] for example in fortunes._examples()}
    assert quips["The nicest thing about the Alto is that it doesn't run faster at night."] == "computers"
    spoken = {example.document: addresses.CLASSES[example.label] for example in addresses._examples()}
    assert (spoken["1790-Washington-1"], spoken["1850-Fillmore-1"]) == ("1790 to 1829", "1830 to 1869")
    functions = [example for example in docstrings._examples() if "ntheory/primetest.py:isprime" in example.document]
    assert [docstrings.CLASSES[example.label] for example in functions] == ["ntheory"]


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(DataError, match="no task 'tree'") as caught:
        find_task("tree")
    assert "trec" in str(caught.value)


def test_duplicates_are_joined_and_contradictions_dropped() -> None:
    examples = [
        Example("Good  film!", 1, "a"),
        Example("good film https://example.org/x", 1, "b"),
        Example("so-so", 0, "c"),
        Example("So so.", 1, "d"),
        Example(":)", 1, "e"),
    ]
    assert [example.document for example in unique(examples)] == ["a", "e"]


def test_a_training_text_leaves_the_official_test_set() -> None:
    train = [Example(f"text {number}", 0, str(number)) for number in range(10)]
    splits = official(train, [*train[:5], Example("new", 0, "new")], Sizes(train=6, validation=2, test=9))
    assert splits.test.texts == ("new",)
    assert (len(splits.train), len(splits.validation)) == (6, 2)


def test_a_text_of_two_tasks_stands_in_the_same_split_of_both() -> None:
    train = [Example(f"text {number}", number % 2, str(number)) for number in range(60)]
    test = [Example(f"new {number}", 0, str(number)) for number in range(20)]
    other = official(train[:40], test[:10], Sizes(train=30, validation=9, test=10))
    splits = official_beside(other, [*train, test[0], Example("alone", 2, "alone")], test, Sizes(80, 20, 20))
    places = [set(split.texts) for split in parts(splits)]
    for place, split in enumerate(parts(other)):
        assert not set(split.texts) & set().union(*(texts for number, texts in enumerate(places) if number != place))
    assert set(other.validation.texts) <= places[1]
    assert "alone" in places[0]
    assert (len(places[1]), len(places[2])) == (20, 20)


def test_a_document_is_never_shared() -> None:
    examples = [Example(f"text {number}", number % 2, str(number // 7)) for number in range(70)]
    splits = partition(examples, Sizes(train=70, validation=10, test=10))
    documents = {example.text: example.document for example in examples}
    train, validation, test = ({documents[text] for text in split.texts} for split in parts(splits))
    assert not train & test | train & validation | validation & test
    assert (len(splits.validation), len(splits.test)) == (10, 10)


def test_thinning_keeps_the_rare() -> None:
    examples = [Example(f"text {number}", int(number == 0), str(number)) for number in range(50)]
    assert Counter(example.label for example in thin(examples, 5)) == {0: 5, 1: 1}


def test_the_first_texts_are_a_split_of_their_own() -> None:
    assert Split(("a", "b", "c"), (0, 1, 2)).take(2) == Split(("a", "b"), (0, 1))


def test_a_long_text_is_compared_by_its_opening_as_a_short_one_is() -> None:
    words = "Été of https://example.org/a?b=c and the N\u0303andu; "
    for prefix in ("", "-" * 600, "http://" + "x" * 600 + " ", "\n \n" * 300):
        whole = prefix + words * 40
        assert opening(whole) == "ete of and the nandu ete of and the nandu ete of and the nandu ete of and the na"
    assert opening("x" * 900) == "x" * 80
    assert opening("x" * 399 + "y " + "z" * 200) == "x" * 80
    assert opening("?" * 900 + " !") == "?" * 900 + " !"
