"""The text suite's table says what the records beside the experts say."""

import json
import re
from pathlib import Path

from benchmarks.pages import text_page
from mergeometry_suite.command import TASKS, TEXT_14, load_expert


def test_the_page_is_as_the_records_are(tmp_path: Path) -> None:
    copy = tmp_path / "suites.md"
    copy.write_text(text_page.PAGE.read_text("utf-8"), "utf-8")
    full, adapters = (json.loads(kept.read_text("utf-8")) for kept in (text_page.FULL, text_page.ADAPTERS))
    text_page.write(copy, full, adapters)
    assert copy.read_text("utf-8") == text_page.PAGE.read_text("utf-8"), f"run `{text_page.COMMAND}`"


def test_every_task_has_its_row() -> None:
    table = text_page.PAGE.read_text("utf-8").partition("<!-- text:")[2].partition("<!-- end of text")[0]
    rows = re.findall(r"^\| (\w+)(?: [†‡])? \|.*\| ([\d.]*) \| ([\d.]*) \| [\d.]* \|", table, re.M)
    assert [name for name, _, _ in rows] == list(TASKS)
    for name, base, expert in rows[: len(TEXT_14)]:
        scores = load_expert(name).provenance["accuracy"]
        assert (float(base), float(expert)) == tuple(round(100 * scores[end]["test"], 1) for end in ("base", "expert"))


def test_a_full_fine_tune_that_is_not_here_keeps_its_record(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"movie": {"accuracy": 1}, "trec": {"accuracy": 2}, "gone": {}}))
    assert list(text_page.records(kept)) == ["trec", "movie"]
    assert json.loads(kept.read_text()) == {"trec": {"accuracy": 2}, "movie": {"accuracy": 1}}
