"""Tweets of the two candidates of the US presidential election of 2016, by author."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice

from mergeometry_suite.packages import ORANGE_TEXT, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition

_AUTHORS = ("HillaryClinton", "realDonaldTrump")
CLASSES = ("Hillary Clinton", "Donald Trump")


def load() -> Splits:
    """Split the candidates' own English tweets at random; what they passed on from others is left out."""
    return partition(_examples(), Sizes())


def _examples() -> Iterator[Example]:
    path = fetch(ORANGE_TEXT) / "orangecontrib/text/datasets/election-tweets-2016.tab"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t")
        columns = next(rows)
        for values in islice(rows, 2, None):  # after the kinds and the roles of the columns
            row = dict(zip(columns, values, strict=False))
            if row["Is retweet"] == "False" and row["Language"] == "en":
                text = " ".join(row["Content"].split())
                yield Example(text, _AUTHORS.index(row["Author"]), document=text)
