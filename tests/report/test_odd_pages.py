"""Pages of odd merges in a real browser: shown as such, never broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.inspection.result import Inspection
from mergeometry.inspection.totals import totals_of
from mergeometry.report.inspection import inspection_page
from tests.helpers import models
from tests.helpers.browsers import Opened
from tests.helpers.inspections import drawn, recorded


def without_matrices() -> Inspection:
    made = drawn(["one", "two"], after=True)
    tensors = tuple(
        replace(one, kind="other", shape=(64,), matrix=None, merged=None if one.merged is None else replace(
            one.merged, alignment=(), consistency=(), accumulated=None, deviation=None, residual=None, energy_kept=()
        )) for one in made.tensors
    )  # fmt: skip
    return recorded(replace(made, tensors=tensors, totals=totals_of(tensors, ["one", "two"])))


def with_not_a_number() -> Inspection:
    made = drawn(["one", "two"], after=True)
    lost = float("nan")
    first = made.tensors[0]
    assert first.matrix is not None and first.merged is not None
    matrix = replace(first.matrix, interference=lost, pair_interference=(lost,), effective_rank=(lost, 2.0))
    merged = replace(first.merged, share_held=(lost, lost), accumulated=float("inf"))
    tensors = (replace(first, norm=(lost, 1.0), matrix=matrix, merged=merged), *made.tensors[1:])
    totals = totals_of(tensors, ["one", "two"])
    return recorded(replace(made, tensors=tensors, totals=totals))


ODD: dict[str, Callable[[], Inspection]] = {
    "one model": lambda: recorded(drawn(["alone"], after=True)),
    "no matrices": without_matrices,
    "a hundred models": lambda: recorded(drawn([f"model {place}" for place in range(100)], tensors=2, after=True)),
    "long names": lambda: recorded(drawn(["x" * 1000, "a name of words " * 60], after=True)),
    "not a number": with_not_a_number,
    "no record": lambda: replace(recorded(drawn(["one", "two"], after=True)), record=None),
    "inputs gone": lambda: replace(
        recorded(drawn(["one", "two"], after=True)), tensors=(), totals=totals_of((), ["a", "b"])
    ),
}


@pytest.mark.suite
@pytest.mark.parametrize("name", ODD)
def test_odd_pages_are_whole_on_a_phone(browser: Any, tmp_path: Path, name: str) -> None:
    page = inspection_page(ODD[name]().to_json())
    assert "NaN" not in page.partition('id="data"')[0] and len(page.encode()) < 2_000_000
    opened = Opened(browser, tmp_path, page, viewport={"width": 390, "height": 844}, is_mobile=True)
    tab = opened.tab
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if tab.locator("#layer-figure").count():
        for key in tab.eval_on_selector_all("#layer-figure option", "all => all.map((one) => one.value)"):
            tab.select_option("#layer-figure", key)
    for text in ("NaN", "undefined", "Infinity"):
        assert text not in tab.inner_text("main"), text
    assert opened.is_quiet(), (opened.troubles, opened.requests)


def test_models_of_vectors_alone_have_a_page(tmp_path: Path) -> None:
    tensors = models.random_tensors(0, shapes={"norm.weight": (8,), "norm.bias": (8,)})
    base = models.write_model(tmp_path / "base", tensors)
    tuned = [models.write_model(tmp_path / f"task{seed}", models.tuned(tensors, seed)) for seed in (1, 2)]
    run = mg.merge(base=base, models=tuned, method="average", output=tmp_path / "out", workers=1)
    found = run.report(workers=1)
    assert [one.matrix for one in found.tensors] == [None, None]
    assert all(own.share_held is not None and own.alignment is None for own in found.totals.models)
    page = inspection_page(found.to_json())
    assert 'id="models"' in page and "–" in page
