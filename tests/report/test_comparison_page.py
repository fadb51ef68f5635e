"""The page of a comparison in a real browser: it runs and loads nothing, whatever the names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.suite
def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    made = comparison(HOSTILE, "x" * 1_000, "javascript:alert(1)")
    opened = Opened(browser, tmp_path, comparison_page(made, "0.1.0"))
    assert "<script>alert(1)" in opened.tab.text_content("body")
    assert opened.tab.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
    assert opened.is_quiet(), (opened.troubles, opened.requests)
