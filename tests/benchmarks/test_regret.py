"""The table of regret over suites says what the comparisons say, and the page what the kept results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies import regret
from tests.helpers.markdown import figures, table_rows

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
    accuracy, perplexity, _, factors, circumstances = regret.written(regret.read(tmp_path)).split("\n\n")
    head, _, *rows = table_rows(accuracy)
    assert head[1:3] == ["text", "vision"]
    # tsv_m would take norm_mean, which was not scored on texts: `auto` has no figure there.
    assert rows == [
        ["`projection per model`", "2.0", "4.0", "3.0", "4.0 (ties, vision)", "1"],
        ["`one`", "20.0", "1.0", "13.7", "30.0 (tsv_m, text)", ""],
        ["`auto`", "–", "4.0", "4.0", "4.0 (ties, vision)", ""],
    ]
    head, _, *rows = table_rows(perplexity)
    assert head[1] == "words"
    assert ["`one`", "0.160", "0.160", "0.250 (ties, words)", ""] in rows
    assert ["`auto`", "0.350", "0.350", "0.500 (tsv_m, words)", ""] in rows
    # 0.5 / 0.25, wherever the rule has a value.
    assert ["`projection per model`", "2.00", "2.00", "2.00"] in table_rows(factors)
    # Tasks, methods, test inputs and validation inputs of each suite.
    assert figures(circumstances) == [2, 2, 30, 10, 2, 1, 30, 10, 2, 2, 30, 10]


def test_without_results_and_without_marks(tmp_path: Path) -> None:
    assert regret.written(regret.read(tmp_path / "none")) == regret.NOTHING
    with pytest.raises(ValueError, match="no marks"):
        regret.on_page("# Scales\n", FOUND)
