"""What keeps people from reading a page: axe-core looks at every page in the browser, light and dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mergeometry.feature_figures.scores import with_scores
from mergeometry.report.comparison_page import comparison_page
from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import Opened
from tests.helpers.comparisons import comparison
from tests.helpers.inspections import drawn, recorded


def merge() -> str:
    """The page of a merge with everything that it can hold."""
    inspection = recorded(drawn(["reviews", "questions", "languages"], after=True))
    made = comparison("tsv_m", "ties")
    made = replace(made, rows=(replace(made.rows[0], method={"name": "tsv_m"}), made.rows[1]))
    scores = {"measure": "accuracy", "tasks": {"a": 0.5}, "spread": {"a": 0.1}, "inputs": {"a": 4}, "mean": 0.5}
    inspection = with_scores(inspection, made, Path("nowhere"))
    return inspection_page(replace(inspection, evaluation={**scores, "file": "tasks.yaml"}).to_json())


PAGES = {
    "merge": merge,
    "inspection": lambda: inspection_page(drawn(["reviews", "questions"]).to_json()),
    "comparison": lambda: comparison_page(comparison("reviews", "questions"), "0.1.0"),
}


@pytest.mark.suite
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_serious(browser: Any, tmp_path: Path, page: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    # The policy of a page runs no other script, and axe is one.
    opened = Opened(browser, tmp_path, PAGES[page](), bypass_csp=True, viewport={"width": 1280, "height": 900})
    for scheme in ("light", "dark"):
        opened.tab.emulate_media(color_scheme=scheme)
        opened.tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        found = Axe().run(opened.tab).response
        assert found["testEngine"]["name"] == "axe-core"
        serious = [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]
        assert not serious, [(scheme, one["id"], one["nodes"][0]["html"][:200]) for one in serious]


@pytest.mark.suite
def test_axe_would_find_it(browser: Any, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    faint = "<!doctype html><title>faint</title><p>a <button></button>"
    found = Axe().run(Opened(browser, tmp_path, faint).tab).response
    assert {"button-name", "html-has-lang"} <= {one["id"] for one in found["violations"]}
