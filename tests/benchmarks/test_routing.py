"""The page says of routers what the study measured."""

from __future__ import annotations

import json

from benchmarks.studies.routing.__main__ import COMMAND, PAGE, RESULTS
from benchmarks.studies.routing.page import on_page
from benchmarks.studies.routing.unsure import PAGE as UNSURE_PAGE
from benchmarks.studies.routing.unsure import RESULTS as UNSURE
from benchmarks.studies.routing.unsure import with_table


def test_the_page_says_what_was_measured() -> None:
    text = PAGE.read_text("utf-8")
    assert on_page(text, json.loads(RESULTS.read_text("utf-8")), COMMAND) == text, COMMAND


def test_the_page_says_how_sure_routers_are() -> None:
    text = UNSURE_PAGE.read_text("utf-8")
    assert with_table(text, json.loads(UNSURE.read_text("utf-8"))) == text
