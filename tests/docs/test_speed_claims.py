"""What pages say of speed against mergekit, against the committed figures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.pages.mergekit_speed import with_speed

ROOT = Path(__file__).parents[2]


def test_the_table_of_speed_is_that_of_the_figures() -> None:
    goals = json.loads((ROOT / "benchmarks/results/llama.json").read_text("utf-8"))["goals"]
    page = (ROOT / "docs/coming-from-mergekit.md").read_text("utf-8")
    assert with_speed(page, goals) == page
    ties = next(goal["figure"] for goal in goals if goal["goal"] == "ties: mergekit's seconds over ours")
    assert f"\n| `ties` | {ties:.1f} |" in page
