"""Diagnoses of ICD-10-CM (US National Center for Health Statistics), by chapter of that classification."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from mergeometry.suite.packages import ICD_10_CM, fetch
from mergeometry.suite.splits import Example, Sizes, Splits, by_rank, partition, thin, unique

CLASSES = (
    "infections",
    "neoplasms",
    "blood",
    "endocrine and nutrition",
    "mental",
    "nerves",
    "eye",
    "ear",
    "circulation",
    "respiration",
    "digestion",
    "skin",
    "muscles and bones",
    "urinary and genital",
    "pregnancy",
    "newborn",
    "malformations",
    "symptoms",
    "injury and poisoning",
    "external causes",
    "contact with health services",
)
_MOST = 135  # of a chapter
_MOST_OF_CATEGORY = 8  # which can have hundreds, of one wording


def load() -> Splits:
    """Split by category, the first three characters of a code; chapters are thinned to one size.

    Codes of one category share most of their words, so a random split would test what was learnt by heart.
    """
    return partition(thin(unique(_examples()), _MOST), Sizes())


def _examples() -> Iterator[Example]:
    path = fetch(ICD_10_CM) / "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml"
    tree = ElementTree.parse(path)  # noqa: S314 - the package's hash is pinned
    # The chapter after the last of these is of codes for special purposes, five in all.
    for label, chapter in enumerate(tree.getroot().findall("chapter")[: len(CLASSES)]):
        for category in chapter.iterfind("section/diag"):
            texts = {diagnosis.findtext("desc", "").strip() for diagnosis in category.iter("diag")} - {""}
            for text in sorted(texts, key=by_rank)[:_MOST_OF_CATEGORY]:
                yield Example(text, label, document=category.findtext("name", ""))
