"""The page of a comparison in a real browser: it runs and loads nothing, whatever the names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.leaderboards.page import comparison_of
from benchmarks.studies.leaderboards.run import RESULTS
from mergeometry.comparison.result import LeftOut
from mergeometry.report.comparison_page import comparison_page
from mergeometry.report.policy import source_hash
from tests.helpers.browsers import Opened
from tests.helpers.comparisons import comparison
from tests.helpers.inspections import HOSTILE


def test_the_policy_names_the_one_style() -> None:
    page = comparison_page(comparison("one", "two"), "0.1.0")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert f"style-src 'sha256-{source_hash(style)}'" in page and "unsafe" not in page
    assert not re.search(r"<\w[^>]* style=", page)


def test_what_the_others_gain_without_each_model() -> None:
    made = comparison("one", "two")
    assert "Without one model" not in comparison_page(made, "0.1.0")
    found = [
        LeftOut(model, method, 1.0, 1.0, gain, 0.01)
        for model, method, gain in (("first", "one", 0.02), ("second", "one", 0.05), ("second", "two", -0.03))
    ]
    page = comparison_page(replace(made, left_out=tuple(found)), "0.1.0")
    table = page[page.index("Without one model") :]
    assert table.index(">second<") < table.index(">first<")
    assert "5.0 ± 1.0" in table and "-3.0 ± 1.0" in table and "Without second the others keep" in table


@pytest.mark.suite
def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    made = comparison(HOSTILE, "x" * 1_000, "javascript:alert(1)")
    opened = Opened(browser, tmp_path, comparison_page(made, "0.1.0"))
    assert "<script>alert(1)" in opened.tab.text_content("body")
    assert opened.tab.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
    assert opened.is_quiet(), (opened.troubles, opened.requests)


@pytest.mark.suite
@pytest.mark.parametrize("width", [390, 1280])
def test_regrets_of_ten_rules_need_no_scrolling_aside(browser: Any, tmp_path: Path, width: int) -> None:
    board = json.loads((RESULTS / "text-8-adapters.json").read_text("utf-8"))
    page = comparison_page(comparison_of(board), "0.1.0")
    opened = Opened(browser, tmp_path, page, viewport={"width": width, "height": 844})
    for title in ("One scale for the model", "A scale for each tensor"):
        region = opened.tab.get_by_role("region", name=title)
        assert region.evaluate("place => place.scrollWidth <= place.clientWidth")
    table = opened.tab.get_by_role("region", name="One scale for the model")
    # Cards are still a table to a screen reader.
    assert table.get_by_role("row").count() == len(board["comparison"]["rows"]) + 3
    assert table.get_by_role("cell", name="0.9 ± 0.5 at 1").first.is_visible()
