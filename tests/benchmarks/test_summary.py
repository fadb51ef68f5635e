"""The first table of the benchmarks' page says what the committed results say."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.pages.processors import processors_section
from benchmarks.pages.summary import summary
from benchmarks.speed.__main__ import TITLES

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_every_committed_goal_is_in_it() -> None:
    lines = list(summary(RESULTS, TITLES))
    expected = 0
    for name in TITLES:
        if (file := RESULTS / f"{name}.json").exists():
            result = json.loads(file.read_text())
            for found in result["goals"]:
                expected += 1
                rows = [line for line in lines if f"| {found['goal']} |" in line and f"| {result['commit']} |" in line]
                met = "| yes |" if found["met"] else "| **no** |"
                assert len(rows) == 1 and met in rows[0] and result["machine"]["cpu"] in rows[0], found["goal"]
    tools = {tool for file in (RESULTS / "peers").glob("*.json") for tool in json.loads(file.read_text())["sides"]}
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| section", "| ---"))]
    assert len(rows) == expected + len(tools) - 1


def test_the_page_begins_with_it() -> None:
    page = PAGE.read_text()
    assert "\n".join(summary(RESULTS, TITLES)) in page
    assert page.count("\n## ", 0, page.index("## Summary") + 5) == 1


def test_a_peer_is_ahead_where_one_cell_says_so(tmp_path: Path) -> None:
    (tmp_path / "peers").mkdir()
    for number, theirs in enumerate((4.0, 1.0, 30.0)):
        side = {"mergeometry": {"wall_s": 2.0, "ended": "done"}, "other": {"wall_s": theirs, "ended": "done"}}
        cell = {"sides": side, "commit": f"c{number % 2}", "date": "2026-01-01", "machine": {"cpu": "a processor"}}
        (tmp_path / "peers" / f"{number}.json").write_text(json.dumps(cell))
    row = list(summary(tmp_path, {"peers": "Peers: seconds"}))[-2]
    assert row == (
        "| Peers | other's seconds over ours | 2 x (0.5 .. 15, 3 cells) | at least 1 in every cell | **no** "
        "| c0, c1 | 2026-01-01 | a processor |"
    )


def test_figures_of_another_processor_stand_beside_those_of_the_page(tmp_path: Path) -> None:
    other = tmp_path / "processors" / "other"
    other.mkdir(parents=True)
    for place, figures in ((tmp_path, {"one": 3.0}), (other, {"one": 2.25, "two": 40.0})):
        goals = [{"goal": goal, "figure": figure, "unit": "x"} for goal, figure in figures.items()]
        found = {"goals": goals, "commit": "c0", "date": "2026-01-01", "machine": {"cpu": "another"}}
        (place / "full.json").write_text(json.dumps(found))
    table = "\n".join(processors_section(tmp_path, {"full": "Full: merges"}))
    assert "| Full | one | 3 x | 2.25 x | c0 | 2026-01-01 | another |" in table
    assert "| Full | two | - | 40 x | c0 | 2026-01-01 | another |" in table
    assert not [*processors_section(other, {"full": "Full: merges"})]


def test_the_page_has_every_committed_figure_of_another_processor() -> None:
    assert "\n".join(processors_section(RESULTS, TITLES)) in PAGE.read_text()
