"""Every table of a page as a file for a spreadsheet, with the numbers of the figures beside the page."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from mergeometry.report.inspection import inspection_page
from tests.helpers.browsers import Opened
from tests.helpers.inspections import drawn, recorded


@pytest.mark.suite
def test_every_table_can_be_saved(browser: Any, tmp_path: Path) -> None:
    inspection = recorded(drawn(["a" * 100, "second"], after=True))
    opened = Opened(browser, tmp_path, inspection_page(inspection.to_json()), viewport={"width": 1280, "height": 900})
    tab = opened.tab
    tab.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")

    def saved(button: str) -> list[list[str]]:
        with tab.expect_download() as download:
            tab.click(button)
        return list(csv.reader(Path(download.value.path()).read_text("utf-8").splitlines()))

    assert [row[0] for row in saved("[data-csv=read-inputs]")] == ["input", "base", "a" * 100, "second", "merged"]
    assert saved("[data-csv=rows]")[1][1:5] == ["1024", "10", "1", "1"], "a number without its commas"
    assert len(saved("[data-csv=written]")) == 15 and saved("[data-csv=methods]")[1][0] == "tsv_m"
    one = next(each for each in inspection.tensors if each.matrix is not None and each.layer == 1)
    assert one.matrix is not None
    tab.click(f'[role=gridcell][aria-label^="layer 1, {one.module}:"]')
    values = {(row[1], row[2]): row[3] for row in saved("#detail button")}
    assert float(values["effective_rank", "second"]) == pytest.approx(one.matrix.effective_rank[1], rel=1e-3)
    assert float(values["energy_kept (rank 4)", "a" * 100]) == pytest.approx(one.matrix.energy_kept[0][2], rel=1e-2)
    assert float(values["cosine", f"{'a' * 100}, second"]) == pytest.approx(one.cosine[0], rel=1e-2)
    assert tab.text_content("#chosen") == f"{one.name} is shown below"
    assert opened.is_quiet(), (opened.troubles, opened.requests)
