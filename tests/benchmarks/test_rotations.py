"""The benchmark of rotations runs, its forms agree and its page is written; how fast they were is never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed import rotations
from benchmarks.speed.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.suite
def test_quick_result_and_page(tmp_path: Path) -> None:
    main(["rotations", "--quick", "--work", str(tmp_path)])
    result = json.loads((tmp_path / "quick" / "results" / "rotations.json").read_text())
    assert [row["form"] for row in result["steps"]] == list(rotations.FORMS)
    learned = {row["form"]: row["learned"] for row in result["steps"]}
    assert learned == {"subspace": 3, "full": 32 * 31 // 2, "whole": 32 * 31 // 2}
    for row in result["steps"]:
        assert row["step_s"] > 0
        assert row["peak_bytes"] >= 0
        assert row["target_error"] < 1e-8
    page = (tmp_path / "quick" / "benchmarks.md").read_text()
    assert rotations.TITLE in page
    assert "| 32 | 2 | subspace | 3 |" in page
