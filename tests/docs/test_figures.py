"""No figure in the README is typed by hand: its table is what the kept result says."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.pages import language_page
from benchmarks.pages.leaderboard import BEGIN, END, read, with_table
from benchmarks.speed import learning_memory, wudi
from benchmarks.studies import searches
from benchmarks.studies.learning import full
from benchmarks.studies.learning.tables import write_line, write_tables
from mergeometry.methods import registry
from mergeometry_suite.demo.markdown import leaderboard_markdown
from tests.helpers.markdown import figures, table_rows

ROOT = Path(__file__).parents[2]


def test_readme_quotes_the_kept_leaderboard() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    board = read(ROOT / "benchmarks" / "results" / "leaderboard.json")
    assert BEGIN in readme and END in readme
    assert with_table(readme, leaderboard_markdown(board)) == readme


def test_every_method_has_a_row_and_a_section() -> None:
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert [name for name in registry.names() if f"\n## {name}\n" not in page] == []
    listed = " ".join(first for first, *_ in table_rows(page) if first.startswith("[`"))
    assert [name for name in registry.names() if f"[`{name}`](#{name})" not in listed] == []


def test_the_readme_counts_and_names_all_methods() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (count,) = [figures(own)[0] for what, own, *_ in table_rows(readme) if what.endswith("methods")]
    assert count == len(registry.names())
    assert [name for name in registry.names() if f"`{name}`" not in readme] == []


def test_the_figures_of_learning_are_those_that_were_measured(tmp_path: Path) -> None:
    results = ROOT / "benchmarks" / "results"
    for page, write in (("docs/learning.md", write_tables), ("README.md", write_line)):
        copy = tmp_path / Path(page).name
        copy.write_text((ROOT / page).read_text("utf-8"), "utf-8")
        write(results, copy)
        assert copy.read_text("utf-8") == (ROOT / page).read_text("utf-8"), (
            f"{page}: python -m benchmarks.studies.learning"
        )


def test_the_figures_of_learning_full_fine_tunes_are_those_that_were_measured() -> None:
    page = (ROOT / "docs" / "learning.md").read_text("utf-8")
    found = json.loads(full.RESULTS.read_text("utf-8"))
    assert full.on_page(page, found) == page, full.COMMAND


def test_the_figures_of_language_models_are_those_that_were_measured(tmp_path: Path) -> None:
    page, copy = ROOT / "docs" / "language-models.md", tmp_path / "language-models.md"
    copy.write_text(page.read_text("utf-8"), "utf-8")
    language_page.write(ROOT / "benchmarks" / "results" / "language_learning.json", copy)
    assert copy.read_text("utf-8") == page.read_text("utf-8"), "python -m benchmarks.studies.language_learning page"


def test_the_figures_of_searches_are_those_that_were_measured() -> None:
    page = (ROOT / "docs" / "search.md").read_text("utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / "searches.json").read_text("utf-8"))
    assert searches.on_page(page, found) == page, searches.COMMAND


def test_the_figures_of_wudi_and_of_memory_are_those_that_were_measured() -> None:
    for page, result, on_page in (
        ("methods.md", "wudi.json", wudi.on_page),
        ("learning.md", "learning_memory.json", learning_memory.on_page),
    ):
        text = (ROOT / "docs" / page).read_text("utf-8")
        found = json.loads((ROOT / "benchmarks" / "results" / result).read_text("utf-8"))
        assert on_page(text, found) == text, result
