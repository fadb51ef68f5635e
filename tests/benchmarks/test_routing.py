"""The page says of routers what the study measured."""

from __future__ import annotations

import json

from benchmarks.studies.routing.__main__ import COMMAND, PAGE, RESULTS
from benchmarks.studies.routing.page import on_page


def test_the_page_says_what_was_measured() -> None:
    text = PAGE.read_text("utf-8")
    assert on_page(text, json.loads(RESULTS.read_text("utf-8")), COMMAND) == text, COMMAND
