"""What pages say in words of speed against mergekit, against the committed figures."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_words_on_speed_are_those_of_the_figures() -> None:
    goals = json.loads((ROOT / "benchmarks/results/llama.json").read_text("utf-8"))["goals"]
    ratios = {goal["goal"]: goal["figure"] for goal in goals}
    times = {name.split(":")[0]: figure for name, figure in ratios.items() if name.endswith("seconds over ours")}
    memory = [figure for name, figure in ratios.items() if name.endswith("peak memory over ours")]
    page = " ".join((ROOT / "docs/coming-from-mergekit.md").read_text("utf-8").split())
    assert "`ties` and `breadcrumbs` are five times as fast" in page
    assert all(5 <= times[name] < 6 for name in ("ties", "breadcrumbs"))
    assert "`dare_ties` almost four times, `sce` twice" in page
    assert 3.5 <= times["dare_ties"] < 4 and 2 <= times["sce"] < 2.5
    assert "`average` and `slerp` 1.6 to 1.8 times, `karcher` and `model_stock` about as fast" in page
    assert [round(times[name], 1) for name in ("average", "slerp")] == [1.6, 1.8]
    assert all(1 <= times[name] < 1.3 for name in ("karcher", "model_stock"))
    assert "an eleventh to a nineteenth of mergekit's" in page
    assert round(min(memory)) == 11 and round(max(memory)) == 19
