"""What the page on reports says of charts, of figures on inputs and of large pages is what was measured."""

from __future__ import annotations

import json

from benchmarks.pages import chart_examples
from benchmarks.pages.marks import between
from benchmarks.speed import page_size


def test_the_charts_are_explained_by_the_kept_results() -> None:
    page = chart_examples.PAGE.read_text("utf-8")
    assert between(page, chart_examples.NAME, chart_examples.written(), chart_examples.COMMAND) == page


def test_the_size_of_a_large_page_is_the_one_that_was_measured() -> None:
    page, result = page_size.PAGE.read_text("utf-8"), json.loads(page_size.RESULT.read_text("utf-8"))
    assert between(page, page_size.NAME, page_size.written(result), page_size.COMMAND) == page
    assert result["bytes"] < 2_000_000
