"""The demo's arithmetic, its pages, and one row of it on real experts and texts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mergeometry
import mergeometry_suite
from mergeometry.code_digest import CodeDigest
from mergeometry.comparison.gain import Score, gain_shares, score
from mergeometry.comparison.store import Store
from mergeometry.methods import registry
from mergeometry_suite.backbone import backbone
from mergeometry_suite.command import list_tasks
from mergeometry_suite.demo import run, work
from mergeometry_suite.demo.entries import ENTRIES, SCALES
from mergeometry_suite.demo.leaderboard import Leaderboard, Row, rank
from mergeometry_suite.demo.markdown import leaderboard_markdown
from mergeometry_suite.demo.page import leaderboard_page
from mergeometry_suite.demo.store import identities_of
from tests.helpers.markdown import figures, table_rows

HOSTILE = "</td><script>alert(1)</script>"


def board(*names: str) -> Leaderboard:
    accuracy = {"trec": 0.9, "movie": 0.8}
    rows = tuple(
        Row(name, Score(accuracy, -0.5, 0.1), Score(accuracy, 0.5, 0.1), 0.3, {"0.3": 0.8}, 1.0, 300_000_000)
        for name in names
    )
    later = tuple(replace(row, behind=0.2, behind_spread=0.05) for row in rows[1:])
    ends = {"trec": 0.7, "movie": 0.6}, {"trec": 0.95, "movie": 0.85}
    return Leaderboard(("trec", "movie"), {"validation": 20, "test": 40}, *ends, (rows[0], *later), 12.0)


def test_every_method_has_a_row() -> None:
    # What needs data to learn from has a page of figures of its own.
    kinds = {name: registry.find(name) for name in registry.names()}
    data_free = {name for name, kind in kinds.items() if not (kind.needs_learning or kind.needs_activations)}
    # What is made for full fine-tunes, whose tables move, is compared on them: docs/leaderboards.md.
    assert {entry.method for entry in ENTRIES} == data_free - {"own_blocks", "rows"}
    assert not {"adamerging", "regmean", "esm"} & data_free
    assert 1.0 in SCALES


def test_score_is_the_share_of_the_summed_gain() -> None:
    base = {"a": [True, False, False, False] * 50, "b": [True, True, False, False] * 50}
    experts = {"a": [True] * 200, "b": [True, True, True, False] * 50}
    merged = {"a": [True, True, False, False] * 50, "b": [True, True, False, True] * 50}
    found = score(merged, base, experts)
    assert found.accuracy == {"a": 0.5, "b": 0.75}
    assert found.gain_kept == pytest.approx((0.25 + 0.25) / (0.75 + 0.25))
    assert found.mean == pytest.approx(0.625)
    assert score(experts, base, experts).spread == 0.0


def test_spread_is_that_of_resampled_texts() -> None:
    generator = np.random.default_rng(5)
    base = {"a": (generator.random(2000) < 0.5).tolist()}
    experts = {"a": [True] * 2000}
    merged = {"a": (generator.random(2000) < 0.8).tolist()}
    again = [
        gain_shares({"a": np.array(merged["a"])[draw].tolist()}, {"a": np.array(base["a"])[draw].tolist()}, experts)[0]
        for draw in (generator.integers(0, 2000, 2000) for _ in range(300))
    ]
    assert score(merged, base, experts).spread == pytest.approx(float(np.std(again)), rel=0.2)


def test_differences_are_taken_on_the_same_texts() -> None:
    generator = np.random.default_rng(6)
    base = {"a": [False] * 400}
    experts = {"a": [True] * 400}
    first = (generator.random(400) < 0.7).tolist()
    second = [*first[:390], *([False] * 10)]
    plain = board("x").rows[0]
    rows = [
        (replace(plain, name=name, at_best=score({"a": correct}, base, experts)), {"a": correct})
        for name, correct in (("second", second), ("first", first))
    ]
    ranked = rank(rows, base, experts)
    assert [row.name for row in ranked] == ["first", "second"]
    assert ranked[0].behind == ranked[0].behind_spread == 0.0
    # Ten texts differ: the difference is far surer than either share.
    assert ranked[1].behind_spread < ranked[1].at_best.spread / 2


def test_leaderboard_survives_json() -> None:
    made = board("tsv_m", "ties")
    assert Leaderboard.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.within_noise() == []


def test_page_escapes_names_and_runs_nothing() -> None:
    page = leaderboard_page(board(HOSTILE, "ties"), "0.1.0")
    assert HOSTILE not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "<script" not in page


def test_markdown_has_a_row_for_each_method() -> None:
    text = leaderboard_markdown(board("tsv_m", "ties"))
    head, _, experts, *rows, base = table_rows(text)
    assert {len(row) for row in (experts, *rows, base)} == {len(head)}
    assert [(row[0], row[1]) for row in rows] == [("`tsv_m`", "50 ± 10"), ("`ties`", "50 ± 10")]
    *_, below = text.rstrip().split("\n\n")
    assert figures(below) == [2, 40, 20] and "`tsv_m`" in below and "`ties`" not in below


def test_store_forgets_results_of_another_state(tmp_path: Path) -> None:
    Store(tmp_path, "one").write("row", {"x": 1})
    assert Store(tmp_path, "one").read("row") == {"x": 1}
    assert Store(tmp_path, "two").read("row") is None
    assert Store(tmp_path, "one").read("other") is None


def test_identities_depend_on_settings_and_entries() -> None:
    entries = [None, *ENTRIES]
    found = identities_of(["trec"], 1, entries)
    assert len(set(found)) == len(entries) and found == identities_of(["trec"], 1, entries)
    assert not set(found) & set(identities_of(["trec"], 2, entries))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("mergeometry/methods/mda.py", {"mda directions", "mda tasks"}),
        ("mergeometry/execution/compute.py", {"ends", *(entry.name for entry in ENTRIES)}),
        ("mergeometry_suite/demo/scorer.py", {"ends", *(entry.name for entry in ENTRIES)}),
        ("mergeometry_suite/demo/page.py", set()),
        ("mergeometry/comparison/table.py", set()),
    ],
)
def test_editing_one_method_leaves_the_others_results(tmp_path: Path, file: str, expected: set[str]) -> None:
    for package in (mergeometry, mergeometry_suite):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, tmp_path / source.name, ignore=lambda folder, names: _no_code(Path(folder), names))
    code = CodeDigest({"mergeometry": tmp_path, "mergeometry_suite": tmp_path})
    before = identities_of(["trec"], 1, [None, *ENTRIES], code)
    (tmp_path / file).write_text((tmp_path / file).read_text() + "# changed\n")
    code = CodeDigest({"mergeometry": tmp_path, "mergeometry_suite": tmp_path})
    after = identities_of(["trec"], 1, [None, *ENTRIES], code)
    names = ["ends", *(entry.name for entry in ENTRIES)]
    assert {name for name, one, other in zip(names, before, after, strict=True) if one != other} == expected


def _no_code(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if not ((folder / name).is_dir() or name.endswith(".py"))]


def test_a_demo_of_kept_results_computes_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ENTRIES", ENTRIES[:1])
    monkeypatch.setattr(run, "list_tasks", lambda: [task for task in list_tasks() if task.name in ("trec", "tweets")])
    first = run.run_demo(tmp_path, lambda *_: None, workers=1, counts=(4, 60))
    (tmp_path / "results" / "ends.json").unlink()
    kept = (tmp_path / "results" / "average.json").stat().st_mtime_ns
    steps: list[str] = []
    again = run.run_demo(tmp_path, lambda text, *_: steps.append(text), workers=2, counts=(4, 60))
    assert steps[-2:] == ["average is scored", "the base and the experts are scored"]
    assert (tmp_path / "results" / "average.json").stat().st_mtime_ns == kept
    assert [row.name for row in first.rows] == ["average"] and replace(again, seconds=first.seconds) == first


def test_one_row_on_real_experts(tmp_path: Path) -> None:
    settings = work.Settings(tmp_path, backbone(), ("trec", "tweets"), 8, 60)
    ends = work.ends(settings)
    entry = next(entry for entry in ENTRIES if entry.name == "tsv_m")
    row = work.row(settings, entry)
    assert {task: len(correct) for task, correct in row["at_best"].items()} == {"trec": 60, "tweets": 60}
    assert row["best_scale"] in SCALES
    assert (tmp_path / "merged" / "tsv_m" / "model.safetensors").is_file()
    # Two experts hardly disturb each other: the merge must do better than the base.
    assert score(row["at_best"], ends["base"], ends["experts"]).gain_kept > 0.3
