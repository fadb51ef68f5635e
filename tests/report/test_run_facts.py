"""The words of a page: what was decided, said once of all that it is of, and sentences with code in them."""

from __future__ import annotations

from dataclasses import replace

from mergeometry.inspection.result import Sentence
from mergeometry.report.inspection import inspection_page
from mergeometry.report.run_facts import decisions
from tests.helpers.inspections import drawn, recorded


def test_what_was_decided_of_several_models_alike_is_said_once() -> None:
    document = recorded(drawn(["one", "two"], after=True)).to_json()
    match = {"paired": 14, "by": "equal names"}
    names = {
        **{f"same{place}": match for place in range(9)},
        **{f"x{place}": {**match, "paired": 100 + place} for place in range(20)},
    }
    record = {**document["record"], "decisions": {"names": names}}
    lines = [line for line in decisions(record) if line[0].startswith("Names")]
    assert lines[0] == ("Names of same0, same1, same2, same3, same4, same5 and 3 more", "14 paired by equal names")
    assert len(lines) == 13 and lines[-1][1] == "in mergeometry.json"


def test_words_between_backticks_are_code_and_never_markup() -> None:
    inspection = drawn(["one", "two"])
    sentence = Sentence("note", "`<img src=x>` and `other: rows` of ` alone")
    page = inspection_page(replace(inspection, verdict=(sentence,)).to_json())
    assert "<code>&lt;img src=x&gt;</code> and <code>other: rows</code> of ` alone" in page
