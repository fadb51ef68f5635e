"""The page of an inspection: one file that can load nothing, whatever the names, and that is read in a real browser."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mergeometry.inspection.totals import totals_of
from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import Opened
from tests.helpers.inspections import HOSTILE, drawn, recorded


class Elements(html.parser.HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.texts.append((self.tags[-1][0], data))


def page_of(labels: list[str], **given: Any) -> str:
    return inspection_page(drawn(labels, **given).to_json())


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def test_the_policy_names_the_one_style_and_the_one_script() -> None:
    page = page_of(["one", "two"], after=True)
    elements = Elements(page)
    (policy,) = (tag["content"] for name, tag in elements.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in elements.texts]
    assert set(re.findall(r"sha256-([^']+)'", policy)) < set(hashes), "the third text is data, which never runs"
    assert not [tag for _, tag in elements.tags if {"src", "style", "onclick"} & set(tag)]
    assert {tag["href"][0] for name, tag in elements.tags if name == "a" and tag["href"]} == {"#"}


@pytest.mark.parametrize("after", [False, True])
def test_no_name_can_be_markup(after: bool) -> None:
    one, page = (
        inspection_page((recorded if after else lambda same: same)(drawn([name, "two"], after=after)).to_json())
        for name in ("one", HOSTILE)
    )
    assert [name for name, _ in Elements(one).tags] == [name for name, _ in Elements(page).tags]
    assert "\x1b" not in page and "\u202e" not in page, "characters that turn text around are spelt out"
    assert data_of(page)["models"][0].startswith("</script><script>alert(1)")


def test_the_figures_are_those_of_the_json() -> None:
    inspection = drawn(["one", "two", "three"], after=True)
    document, data = inspection.to_json(), data_of(inspection_page(inspection.to_json()))
    for one, other in zip(document["tensors"], data["tensors"], strict=True):
        assert other["norm"] == pytest.approx(one["norm"], rel=1e-3)
        assert other["cosine"] == pytest.approx(one["cosine"], rel=5e-3)
        assert other["share_held"] == pytest.approx(one["merged"]["share_held"], rel=1e-3)
    for key, values in data["pair_totals"].items():
        assert values == pytest.approx([pair[key] for pair in document["totals"]["pairs"]], rel=1e-3)


@pytest.mark.suite
def test_seven_hundred_tensors_of_eight_models_are_less_than_two_megabytes() -> None:
    labels = [f"model{place}" for place in range(8)]
    page = inspection_page(recorded(drawn(labels, tensors=700, layers=100, after=True)).to_json())
    assert len(page.encode()) < 1_850_000
    assert not data_of(page)["pairs_left_out"]


@pytest.mark.suite
def test_many_models_leave_the_pairs_of_tensors_to_the_json() -> None:
    page = page_of([f"model{place}" for place in range(40)], tensors=42, layers=6)
    data = data_of(page)
    assert data["pairs_left_out"] and "cosine" not in data["tensors"][0]
    assert len(data["pair_totals"]["cosine"]) == 780
    assert len(page.encode()) < 2_000_000


def test_a_page_is_made_of_figures_that_are_not_there() -> None:
    document = drawn(["one"], tensors=2).to_json()
    document["tensors"][0]["norm"] = [None]
    document["totals"]["models"][0]["norm"] = None
    page = inspection_page(document)
    assert "–" in page and data_of(page)["tensors"][0]["norm"] == [None]
    assert "What one model changed" in page
    assert "No tensor could be measured." in page_of(["one"], tensors=0)


def test_the_record_is_shown_where_no_tensor_was_measured() -> None:
    inspection = recorded(drawn(["one", "two"], after=True))
    page = inspection_page(replace(inspection, tensors=(), totals=totals_of((), ["one", "two"])).to_json())
    for text in (
        "tsv_m", "svc", "2 (one per core)", "by the rule projection", "lm_head.weight is embed.weight", "from one",
        "0.31 before, 0.12 as kept", "14 tensors written", "blake3:" + "ab" * 32, 'class="curve"',
    ):  # fmt: skip
        assert text in page, text


def test_a_record_with_odd_fields_makes_a_page_without_them() -> None:
    document = recorded(drawn(["one", "two"], after=True)).to_json()
    odd = {"decisions": {"names": {"one": 3}, "workers": [], "ties": None, "files": {}}, "timings": 7, "adapt": "no"}
    odd |= {"scaling": [], "parameters": {"method": None}, "sidecars": {"copied": [None]}}
    page = inspection_page({**document, "record": {**document["record"], **odd}, "curves": [{"step": 1, "loss": None}]})
    assert "tsv_m" in page and 'id="learning"' not in page and 'class="curve"' not in page


@pytest.mark.parametrize("labels", [[f"model {place}" for place in range(100)], ["x" * 1000, "y" * 1000]])
def test_a_hundred_models_and_very_long_names_make_a_page(labels: list[str]) -> None:
    page = inspection_page(recorded(drawn(labels, tensors=2, after=True)).to_json())
    assert len(data_of(page)["models"]) == len(labels) and len(page.encode()) < 2_000_000


@pytest.mark.suite
@pytest.mark.parametrize("after", [False, True])
def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path, after: bool) -> None:
    inspection = drawn([HOSTILE, "x" * 1000], after=after)
    page = inspection_page((recorded(inspection) if after else inspection).to_json())
    opened = Opened(browser, tmp_path, page)
    tab = opened.tab
    assert "<script>alert(1)" in tab.text_content("#pair-matrix")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for key in tab.eval_on_selector_all("#layer-figure option", "all => all.map((one) => one.value)"):
        tab.select_option("#layer-figure", key)
    assert opened.is_quiet(), (opened.troubles, opened.requests)


@pytest.mark.suite
def test_a_reader_filters_chooses_sorts_and_saves(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    inspection = drawn(["=first", "second", "third"], after=True)
    opened = Opened(browser, tmp_path, inspection_page(inspection.to_json()), viewport={"width": 1280, "height": 900})
    tab = opened.tab
    one = next(each for each in inspection.tensors if each.matrix is not None and each.layer == 1)
    assert one.matrix is not None and one.merged is not None
    tab.select_option("#layer-figure", "effective_rank")
    tab.select_option("#layer-of", "1")
    place = tab.locator(f'[role=gridcell][aria-label^="layer 1, {one.module}:"]')
    assert place.get_attribute("aria-label").endswith(f": {one.matrix.effective_rank[1]:.3g}")
    place.click()
    assert one.name in tab.text_content("#detail")
    assert f"{one.merged.accumulated:.2f}" in tab.text_content("#detail")
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith("layer 0")
    tab.keyboard.press("Enter")
    assert "model.layers.0." in tab.text_content("#detail h3")
    tab.fill("#filter", "part3")
    expect(tab.locator("[role=gridcell]")).to_have_count(2)
    assert tab.text_content("#tensors-about").startswith("2 of 14")
    tab.fill("#filter", "nothing of this name")
    expect(tab.locator("#heat")).to_have_text("No name fits.")
    tab.fill("#filter", "")
    expect(tab.locator("[role=gridcell]")).to_have_count(12)
    tab.click("#tensor-table thead button >> nth=2")
    moved = [float(text) for text in tab.locator("#tensor-table tbody td:nth-of-type(2)").all_text_contents()]
    assert moved == sorted(moved, reverse=True) and len(moved) == 12
    with tab.expect_download() as saved:
        tab.click("[data-csv=tensors]")
    lines = Path(saved.value.path()).read_text("utf-8").splitlines()
    assert len(lines) == 15 and '"model.layers' not in lines[1]
    with tab.expect_download() as saved:
        tab.click("[data-csv=models]")
    assert "\n'=first," in Path(saved.value.path()).read_text("utf-8"), "no name is a formula in a spreadsheet"
    paper = "getComputedStyle(document.body).backgroundColor"
    shades = []
    for _ in range(3):
        tab.click("#theme")
        shades.append(tab.evaluate(paper))
    assert len(set(shades)) == 2
    assert opened.is_quiet(), (opened.troubles, opened.requests)


@pytest.mark.suite
def test_a_phone_shows_seven_hundred_tensors_at_once(browser: Any, tmp_path: Path) -> None:
    page = page_of([f"model{place}" for place in range(8)], tensors=700, layers=100, after=True)
    opened = Opened(
        browser, tmp_path, page, viewport={"width": 390, "height": 844}, is_mobile=True, color_scheme="dark"
    )
    assert opened.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.tab.locator("[role=gridcell]").count() == 600
    ready = opened.tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert ready < 20_000, "a browser that hangs takes minutes; one on a busy machine a few seconds"
    click = "document.getElementById('all-kinds').click()"
    redraw = f"(() => {{ const from = performance.now(); {click}; return performance.now() - from; }})()"
    assert opened.tab.evaluate(redraw) < 10_000
    assert opened.is_quiet(), (opened.troubles, opened.requests)
