"""`make bench-quick` compares ratios, says what regressed, and fails on it; how fast anything was is never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed.measure import Case
from benchmarks.speed.regression_rows import Row
from benchmarks.speed.regressions import BASELINE, main, slower, verdicts


def case(name: str, *seconds: float) -> Case:
    runs = [{"user_s": 0.75 * took, "system_s": 0.25 * took} for took in seconds]
    return Case(name, ["true"], runs=runs)


def test_a_ratio_is_of_the_least_processor_seconds() -> None:
    assert Row(case("ours", 9.0, 3.0, 4.0), case("plain", 2.0, 6.0)).ratio == pytest.approx(1.5)


def test_a_fifth_more_is_no_regression_and_more_is() -> None:
    assert not slower(1.2, 1.0)
    assert slower(1.21, 1.0)
    assert not slower(100.0, None)


def test_every_row_gets_its_verdict() -> None:
    found = {"one": 1.0, "two": 1.5, "three": 0.5, "four": 2.0}
    committed = {"one": 0.9, "two": 1.0, "three": 1.0}
    assert verdicts(found, committed) == [
        ("one", "1.00", "0.90", "+11 %", "as before"),
        ("two", "1.50", "1.00", "+50 %", "REGRESSED"),
        ("three", "0.50", "1.00", "-50 %", "faster"),
        ("four", "2.00", "-", "-", "new: not committed yet"),
    ]


def test_committed_rows_are_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    for row in json.loads(BASELINE.read_text())["rows"]:
        assert f"| {row['name']} | {row['ours']['processor_s']:.2f} s |" in page


@pytest.mark.suite
def test_a_regression_fails_and_an_update_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = tmp_path / "baseline.json"
    given = ["help", "learning", "--rounds", "1", "--work", str(tmp_path / "work"), "--baseline", str(baseline)]
    assert main([*given, "--update"]) == 0
    kept = json.loads(baseline.read_text())
    assert [row["name"] for row in kept["rows"]] == ["help", "learning"]
    kept["rows"][0]["ratio"] *= 1000
    kept["rows"][1]["ratio"] /= 1000
    baseline.write_text(json.dumps(kept))
    capsys.readouterr()
    assert main(given) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 rows take over 1.2 times what they took: learning" in printed
    assert "faster" in printed
