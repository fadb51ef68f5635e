"""The tables on learning without data are those of the results that are kept."""

import json
import shutil
from pathlib import Path

from benchmarks.studies.synthetic.__main__ import RESULTS, ROOT
from benchmarks.studies.synthetic.board import BOARDS
from benchmarks.studies.synthetic.page import gain, table, write_page


def test_the_page_has_the_tables_of_the_results(tmp_path: Path) -> None:
    results, page = json.loads(RESULTS.read_text("utf-8")), ROOT / "docs" / "synthetic.md"
    shutil.copyfile(page, tmp_path / "page.md")
    write_page(results, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == page.read_text("utf-8")
    assert {point["board"] for point in results["points"]} == {*BOARDS}


def test_a_merge_half_way_between_the_base_and_the_experts_keeps_half() -> None:
    ends = {"base": {"a": 0.5, "b": 0.3}, "experts": {"a": 0.9, "b": 0.7}}
    point = {"board": "text adapters", "start": "auto", "arm": "auto", "steps": 60, "accuracies": {"a": 0.8, "b": 0.4}}
    assert abs(gain({**point, "ends": ends}) - 50) < 1e-9
    told = {"points": [{**point, "ends": ends, "processor_seconds": 30.0}], "date": "", "machine": {"cpu": ""}}
    assert "| text adapters | auto | nothing: the merge that `auto` chooses |  | 50 |  | 0.5 |" in table(told)
