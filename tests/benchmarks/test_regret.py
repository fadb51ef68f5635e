"""The table of regret over suites says what the comparisons say, and the page what the kept results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import regret

ROOT = Path(__file__).parents[2]


def comparison(measure: str, losses: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    rules = list(dict.fromkeys(rule for own in losses.values() for rule in own))
    rows = [
        {
            "name": name,
            "method": {"name": name},
            "best_scale": 0.5,
            "regret_at_one": own.get("one", 0.07),
            "rules": {rule: {"scale": None if loss is None else 0.25, "regret": loss} for rule, loss in own.items()},
        }
        for name, own in losses.items()
    ]
    inputs = {"test": {"a": 10, "b": 20}, "validation": {"a": 5, "b": 5}}
    return {"measure": measure, "rules": rules, "rows": rows, "seen": ["a", "b"], "inputs": inputs}


FOUND = {
    "text": comparison("accuracy", {
        "ties": {"one": 0.10, "projection per model": 0.02}, "tsv_m": {"one": 0.30, "projection per model": None},
    }),
    "vision": comparison("accuracy", {"ties": {"one": 0.01, "projection per model": 0.04}}),
    "words": comparison("perplexity", {
        "ties": {"one": 0.25, "projection per model": 0.2, "norm_mean per model": 0.9},
        "tsv_m": {"projection per model": 0.9, "norm_mean per model": 0.5},
    }),
}  # fmt: skip


def test_the_docs_say_what_was_measured() -> None:
    page = regret.PAGE.read_text("utf-8")
    assert regret.on_page(page, regret.read(regret.RESULTS)) == page, "python -m benchmarks.studies.regret"


def test_tables_by_hand(tmp_path: Path) -> None:
    for suite, one in FOUND.items():
        (tmp_path / f"{suite}.json").write_text(json.dumps({"comparison": one}))
    lines = regret.written(regret.read(tmp_path)).splitlines()
    assert lines[0] == "| rule (points of mean accuracy lost) | text | vision | all: mean | worst | no value |"
    assert lines[2] == "| `projection per model` | 2.0 | 4.0 | 3.0 | 4.0 (ties, vision) | 1 |"
    assert lines[3] == "| `one` | 20.0 | 1.0 | 13.7 | 30.0 (tsv_m, text) |  |"
    # tsv_m would take norm_mean, which was not scored there.
    assert not any("`auto` | 2.0" in line for line in lines)
    assert "| rule (nats of mean log-loss lost) | words | all: mean | worst | no value |" in lines
    assert "| `one` | 0.160 | 0.160 | 0.250 (ties, words) |  |" in lines
    assert "| `auto` | 0.350 | 0.350 | 0.500 (tsv_m, words) |  |" in lines
    # 0.5 / 0.25, wherever the rule has a value.
    assert "| `projection per model` | 2.00 | 2.00 | 2.00 |" in lines
    assert lines[-1].startswith("text: 2 tasks, 2 methods, 30 test inputs, scales validated on 10; vision:")


def test_without_results_and_without_marks(tmp_path: Path) -> None:
    assert regret.written(regret.read(tmp_path / "none")) == regret.NOTHING
    with pytest.raises(ValueError, match="no marks"):
        regret.on_page("# Scales\n", FOUND)
