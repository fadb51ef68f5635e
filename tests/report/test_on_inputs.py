"""The section on inputs of an inspection's page: names are never markup, figures are those of the JSON."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mergeometry.feature_figures.words import with_figures
from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import Opened
from tests.helpers.inspections import HOSTILE, drawn, on_inputs


def document_of(names: list[str], *, after: bool = True) -> dict[str, Any]:
    return with_figures(drawn(["one", "two"], after=after), on_inputs(names, after=after)).to_json()


def rows_of(page: str) -> list[list[Any]]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])["sheets"]["inputs"]


@pytest.mark.parametrize("after", [False, True])
def test_no_name_of_a_task_can_be_markup(after: bool) -> None:
    plain, hostile = (inspection_page(document_of([name, "two"], after=after)) for name in ("one", HOSTILE))
    tags = [re.findall(r"<[a-z/][^>]*", re.sub(r'title="[^"]*"', "", page)) for page in (plain, hostile)]
    assert tags[0] == tags[1]
    assert "\x1b" not in hostile and "\u202e" not in hostile
    assert 'id="inputs"' in plain and 'href="#inputs"' in plain
    assert "likewise two" in plain or "64 of 300 are used" in plain
    assert 'id="inputs' not in inspection_page(drawn(["one", "two"], after=after).to_json())


def test_every_figure_is_a_column_of_the_csv() -> None:
    document = document_of(["one", "two"])
    head, *rows = rows_of(inspection_page(document))
    assert [row[:2] for row in rows] == [
        [task, model] for task in ("one", "two") for model in ("merged", "expert", "base")
    ]
    for row in rows:
        figures = dict(zip(head, row, strict=True))
        task = next(task for task in document["on_inputs"]["tasks"] if task["name"] == figures["task"])
        own = task[figures["model"]]
        assert figures["entropy"] == pytest.approx(own["entropy"], rel=1e-3)
        assert (figures["agreement"] is None) == (figures["model"] == "expert")
        if own["agreement"] is not None:
            assert figures["agreement"] == pytest.approx(own["agreement"]["value"], rel=1e-3)
        assert figures["nc1"] == (own["collapse"] and own["collapse"]["nc1"])
        layers = own["layers"] or [None] * 6
        assert [figures[f"cka_unbiased (layer {layer})"] for layer in range(6)] == [
            None if value is None else pytest.approx(value, rel=1e-3) for value in layers
        ]


def test_a_merge_behind_its_base_is_told() -> None:
    figures = on_inputs(["one"], after=True)
    (task,) = figures.tasks
    assert task.merged is not None and task.merged.agreement is not None and task.base.agreement is not None
    verdict = with_figures(drawn(["one", "two"], after=True), figures).verdict
    behind = task.merged.agreement.high < task.base.agreement.low
    assert any("undoes more than it brings" in one.text for one in verdict) == behind
    levels = [sentence.level == "note" for sentence in verdict]
    assert levels == sorted(levels), "what calls for a look comes first"


@pytest.mark.suite
def test_the_section_in_a_browser(browser: Any, tmp_path: Path) -> None:
    document = document_of([HOSTILE, "two"])
    opened = Opened(browser, tmp_path, inspection_page(document))
    tab = opened.tab
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    own = document["on_inputs"]["tasks"][0]["merged"]
    assert f"{100 * own['agreement']['value']:.0f} " in tab.text_content("#inputs-table tbody tr td:nth-of-type(2)")
    shade = tab.eval_on_selector("#inputs-layers td[data-v]", "(one) => one.style.getPropertyValue('--v')")
    assert float(shade) == pytest.approx(max(0, own["layers"][1]), abs=1e-3)
    with tab.expect_download() as saved:
        tab.click("[data-csv='inputs']")
    rows = list(csv.reader(Path(saved.value.path()).read_text("utf-8").splitlines()))
    assert len(rows) == 7 and rows[1][1] == "merged"
    assert opened.is_quiet(), (opened.troubles, opened.requests)
