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
    assert "`ties` is eight times as fast as mergekit's own command, `breadcrumbs` five times" in page
    assert 8 <= times["ties"] < 9 and 5 <= times["breadcrumbs"] < 6
    assert "`dare_ties` three times, `sce` more than twice, `average` and `slerp` 1.6 times" in page
    assert 3 <= times["dare_ties"] < 3.5 and 2 < times["sce"] < 3
    assert all(1.6 <= times[name] < 1.7 for name in ("average", "slerp"))
    assert "`karcher` and `model_stock` about as fast" in page
    assert all(1 <= times[name] < 1.3 for name in ("karcher", "model_stock"))
    assert "a twelfth to a twenty-first of mergekit's" in page
    assert round(min(memory)) == 12 and round(max(memory)) == 21
