"""The page says of folded adapters what was measured, and none was taken for what it is not."""

from __future__ import annotations

import json

from benchmarks.studies.folded_adapters import COMMAND, PAGE, RESULT, on_page


def test_the_page_is_written_from_the_kept_result() -> None:
    page = PAGE.read_text("utf-8")
    assert on_page(page, json.loads(RESULT.read_text("utf-8"))) == page, COMMAND


def test_every_expert_was_told() -> None:
    for family in json.loads(RESULT.read_text("utf-8"))["families"]:
        for found in family["found"].values():
            assert found["folded"] == (found["models"] if family["adapters"] else 0), family["title"]
