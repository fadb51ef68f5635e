"""Diagnoses as the United States' classification of diseases words them (ICD-10-CM, tabular list)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from mergeometry_suite.packages import ICD_10_CM, fetch
from mergeometry_suite.splits import Example


def read_diagnoses() -> Iterator[Example]:
    """Every diagnosis in the order of the list; its document is the category (three characters) that it stands in."""
    (path,) = (fetch(ICD_10_CM) / "simple_icd_10_cm/data").glob("*.xml")
    tree = ElementTree.parse(path)  # noqa: S314 - the package's hash is pinned
    for category in tree.getroot().iterfind("chapter/section/diag"):
        for diagnosis in category.iter("diag"):
            text = " ".join(diagnosis.findtext("desc", "").split())
            if text:
                yield Example(text, 0, document=category.findtext("name", ""))
