"""Scores beside a merge: a comparison and an evaluation are on its page, in words, and compared by `diff`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mergeometry as mg
from mergeometry.comparison.kept import read_comparison, rows_of
from mergeometry.comparison.result import Comparison
from mergeometry.errors import SourceError
from mergeometry.feature_figures.scores import sentences_on, with_scores
from mergeometry.inspection.difference import difference
from mergeometry.report.inspection import inspection_page
from tests.helpers import learning_models
from tests.helpers.commands import invoke
from tests.helpers.comparisons import comparison
from tests.helpers.inspections import HOSTILE, drawn, recorded
from tests.helpers.labelled_tasks import written


def two_rows() -> Comparison:
    """`ties` first, `tsv_m` behind it, both best at scale 1, and 5 points of loss at scale 1 that there is not."""
    found = comparison("ties", "tsv_m")
    first, second = found.rows
    return replace(found, rows=(first, replace(second, method={"name": "tsv_m"}, best_scale=0.5)))


def told(recipe: dict[str, Any], labels: tuple[str, ...] = ("a", "b")) -> list[tuple[str, str]]:
    return [(sentence.level, sentence.text) for sentence in sentences_on(two_rows(), recipe, labels)]


def test_the_words_name_the_row_of_this_merge_its_scale_and_the_best() -> None:
    (own, scale) = told({"method": {"name": "tsv_m"}, "scale": 1.0})
    assert own[1].startswith("In the comparison, tsv_m at scale 0.5 kept ") and "ties kept most" in own[1]
    assert scale == ("note", "This merge has scale 1; in the comparison, 0.5 did best for tsv_m.")
    assert [level for level, _ in told({"method": {"name": "ties"}, "scale": 1.0})] == ["note"]
    (none,) = told({"method": {"name": "slerp"}, "scale": 1.0})
    assert "no row that merges as this one does" in none[1]
    ((level, text), *_) = told({"method": {"name": "ties"}, "scale": 1.0}, ("a", "z"))
    assert level == "attention" and "other models" in text
    rows = two_rows().rows
    clear = replace(two_rows(), rows=(rows[0], replace(rows[1], regret_at_one=0.05, regret_spread=0.01)))
    *_, last = sentences_on(clear, {"method": {"name": "tsv_m"}, "scale": 1.0}, ("a", "b"))
    assert last.level == "attention"


def test_a_row_is_this_merges_only_with_its_options_refinements_and_rule_for_other_tensors() -> None:
    found = comparison("plain", "linear", "refined", "rows")
    methods = [
        {"name": "dc_merge"},
        {"name": "dc_merge", "smoothing": "linear"},
        {"name": "dc_merge"},
        {"name": "dc_merge"},
    ]
    rows = [
        replace(row, method=method, other={"name": "average"}) for row, method in zip(found.rows, methods, strict=True)
    ]
    rows[2] = replace(rows[2], refine=[{"name": "svc"}])
    rows[3] = replace(rows[3], other={"name": "rows"})
    found = replace(found, rows=tuple(rows))

    def named(**recipe: Any) -> list[str]:
        return [row.name for row in rows_of(found, {"method": {"name": "dc_merge"}, "other": "average", **recipe})]

    assert named() == ["plain"]
    assert named(method={"name": "dc_merge", "smoothing": "linear"}) == ["linear"]
    assert named(refine=["svc"]) == ["refined"] and named(other={"name": "rows"}) == ["rows"]


def test_the_page_holds_leaderboard_curves_and_their_csv_whatever_the_names(tmp_path: Path) -> None:
    made = comparison(HOSTILE, "tsv_m")
    made = replace(made, rows=(made.rows[0], replace(made.rows[1], method={"name": "tsv_m"})))
    inspection = with_scores(recorded(drawn(["a", "b"], after=True)), made, tmp_path / "out")
    page = inspection_page(inspection.to_json())
    assert 'id="leaderboard"' in page and 'class="curves"' in page and page.count("this merge</b>") == 2
    assert "<script>alert(1)" not in page and "\x1b" not in page and "\u202e" not in page
    sheets = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["sheets"]
    assert sheets["leaderboard"][2][:2] == ["tsv_m", made.rows[1].at_best.gain_kept]
    assert sheets["scales"] == [["method", "scale 0.5", "scale 1", "scale 2"], *(
        [name[0], *row.validation.values()] for name, row in zip(sheets["scales"][1:], made.rows, strict=True)
    )]  # fmt: skip
    assert 'id="scores"' not in inspection_page(recorded(drawn(["a", "b"], after=True)).to_json())


def test_a_comparison_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    for content in ("no json", "{}", json.dumps({**comparison("ties").to_json(), "rows": []})):
        (tmp_path / "comparison.json").write_text(content)
        with pytest.raises(SourceError, match="the comparison cannot be read") as failed:
            read_comparison(tmp_path)
        assert failed.value.file == str(tmp_path / "comparison.json") and "mergeometry compare" in str(failed.value)
    lost = replace(comparison("ties"), base_validation=float("nan"))
    with pytest.raises(SourceError, match="not finite"):
        with_scores(drawn(["a"], after=True), lost, tmp_path)


@pytest.mark.suite
def test_scores_of_real_merges_are_kept_shown_and_compared(tmp_path: Path) -> None:
    written(tmp_path, learning_models.family(tmp_path))
    recipe, tasks = tmp_path / "recipe.yaml", tmp_path / "tasks.yaml"
    board = mg.compare(recipe, "average, tsv_m", tasks, output=tmp_path / "kept", scales=[0.5, 1.0], workers=1)
    (tmp_path / "board.json").write_text(json.dumps(board.to_json()))
    for name, scale in (("one", 1.0), ("other", 0.5)):
        mg.merge(recipe, tmp_path / name, method="tsv_m", scale=scale, workers=1)
        done = invoke("evaluate", tmp_path / name, "--tasks", tasks, "--save")
        assert done.exit_code == 0, done.output
    found = difference(tmp_path / "one", tmp_path / "other")
    row = next(row for row in board.rows if row.name == "tsv_m")
    kept = json.loads((tmp_path / "one-report" / "evaluation.json").read_text("utf-8"))
    assert kept["evaluation"]["tasks"] == pytest.approx(row.at_one.tasks)
    apart = {
        task for task, value in row.at_one.tasks.items() if value != mg.evaluate(tmp_path / "other", tasks).tasks[task]
    }
    assert {change.what for change in found.scores} == {
        *(f"{task}: accuracy" for task in apart), *(["mean accuracy"] if apart else [])
    }  # fmt: skip
    done = invoke("report", tmp_path / "one", "--comparison", tmp_path / "board.json", "--workers", "1", "--json")
    document = json.loads(done.stdout)
    assert document["comparison"]["rows"] and document["evaluation"]["tasks"] == kept["evaluation"]["tasks"]
    page = (tmp_path / "one-report" / "index.html").read_text("utf-8")
    assert "this merge</b>" in page and 'id="evaluation"' in page
    same = mg.Run.read(tmp_path / "one").report(comparison=board, workers=1)
    assert same.comparison is not None and "In the comparison, tsv_m" in same._repr_html_()
    refused = invoke("evaluate", tmp_path / "one-report", "--tasks", tasks, "--save")
    assert refused.exit_code == 1
