"""Boards are comparisons that the command line takes, and the pages say what the kept results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.pages.marks import between
from benchmarks.studies import geometry
from benchmarks.studies.leaderboards import __main__ as command
from benchmarks.studies.leaderboards import (
    overview,
    page,
    regressions,
    seeds,
    summary,
    validation,
)
from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.kinds import BESIDE
from benchmarks.studies.leaderboards.run import PLUGINS, RESULTS
from mergeometry.comparison.entries import read_entries
from mergeometry.comparison.scales import read_scales
from mergeometry.conformance import check
from mergeometry.conformance.checks import as_dense
from mergeometry.linalg.svd import top_directions
from mergeometry.methods import registry
from mergeometry_suite.comparison import suites
from tests.helpers.markdown import figures

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_can_be_compared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    board = BOARDS[name]
    entries, _ = read_entries(list(board.methods))
    assert len(entries) == len(board.methods)
    assert 1.0 in read_scales(board.scales)
    assert board.suite in suites()


def test_the_page_says_what_was_measured() -> None:
    found, text = page.read(RESULTS), command.PAGE.read_text("utf-8")
    assert between(text, "leaderboards", page.written(found), command.COMMAND) == text, command.COMMAND
    assert between(text, "seeds", seeds.all_written(found), command.COMMAND) == text, command.COMMAND
    assert between(text, "overview", overview.written(found), command.COMMAND) == text, command.COMMAND
    text = command.SUITES.read_text("utf-8")
    assert between(text, "validation", validation.written(found), command.COMMAND) == text, command.COMMAND
    text = command.README.read_text("utf-8")
    assert between(text, "full fine-tunes", summary.summary(found), command.COMMAND) == text, command.COMMAND
    text = command.OURS.read_text("utf-8")
    assert between(text, "ablation", summary.ablation(found), command.COMMAND) == text, command.COMMAND
    text, readings = command.METHODS.read_text("utf-8"), seeds.written(found, "mda-readings")
    assert between(text, "readings", readings, command.COMMAND) == text, command.COMMAND
    text = command.REGRESSIONS.read_text("utf-8")
    assert between(text, "regressions", regressions.written(found), command.COMMAND) == text, command.COMMAND
    for name, drawing in page.pictures(found).items():
        assert (ROOT / "docs" / "pictures" / name).read_text("utf-8") == drawing, command.COMMAND


def test_the_geometry_page_says_what_was_measured() -> None:
    text = geometry.PAGE.read_text("utf-8")
    board = geometry.read(geometry.LEADERBOARDS / f"{geometry.BOARD}.json")
    assert geometry.on_page(text, geometry.read(geometry.RESULT), board) == text, geometry.COMMAND


def test_tasks_at_right_angles_are_a_simplex() -> None:
    """Updates in rows and columns of their own, with spectra of equal length: Delta_ETF by hand."""
    deltas = []
    for task in range(3):
        delta = torch.zeros(12, 9)
        delta[4 * task, 3 * task], delta[4 * task + 1, 3 * task + 1] = 2.0, 1.0
        deltas.append(delta)
    directions = [top_directions(delta, 2) for delta in deltas]
    # Their coordinates, diag(2, 1) each, are all the same: nothing is left once they are centred but rounding.
    assert geometry.overlap(directions) == 0
    apart = torch.zeros(12, 9)
    apart[0, 0], apart[5, 4], apart[8, 7] = 1.0, 1.0, 1.0  # one entry each: (0, 0), (1, 1) and (0, 1)
    assert geometry.deviation(apart, directions) == pytest.approx(0, abs=1e-12)


def test_a_correlation_over_methods() -> None:
    layers = {"a": {"x": 0.1, "y": 0.2, "z": 0.3}, "b": {"x": 0.5, "y": 0.2, "z": 0.1}}
    told = geometry.correlation(layers, {"x": 0.9, "y": 0.5, "z": 0.1})
    assert [one[0] for one in told["layers"].values()] == [-1.0, 1.0]
    assert told["methods"] == 3


def test_seeds_stand_beside_each_other() -> None:
    own = page.read(RESULTS)["text-8-full"]
    assert seeds.written({"text-8-full": own}) == seeds.NOTHING
    # The same board under another seed's name: no spread, and orders that agree wholly.
    told = seeds.written({"text-8-full": own, "text-8-full-seed-1": own, "text-14-full": own})
    row = next(row for row in page.comparison_of(own).rows if row.name == "tsv_m")
    kept = f"{100 * (row.at_one.gain_kept or 0):.0f}"
    assert f"| `tsv_m` | {kept} | {kept} | {kept} ± 0 |" in told
    assert figures(told.splitlines()[-1])[-3:-1] == [1.0, 1.0]


def test_a_row_of_one_seed_is_not_compared_with_means_over_several() -> None:
    own = page.read(RESULTS)["text-8-full"]
    kept = page.rows_of("text-8-full", {"text-8-full": own})
    alone = overview.told("text-8-full", kept, {"text-8-full": own})["tsv_m"][1]
    assert alone.share == kept["tsv_m"].at_one.gain_kept and "seed" not in alone.text
    fewer = {**own, "comparison": {**own["comparison"], "rows": own["comparison"]["rows"][:1]}}
    told = overview.told("text-8-full", kept, {"text-8-full": own, "text-8-full-seed-1": fewer})
    (both,) = [name for name, (_, one) in told.items() if one.share is not None]
    assert both == own["comparison"]["rows"][0]["name"] and "seed" not in told[both][1].text
    assert all(one.text.endswith("(seed 0)") for name, (_, one) in told.items() if name != both)


def test_every_method_stands_on_every_board_that_has_it() -> None:
    found = page.read(RESULTS)
    told = overview.written({name: found[name] for name in ("text-14-full", "vision")})
    first, one, _ = (part.splitlines() for part in re.split(r"\n\nAt .*:\n\n", told))
    assert len(first) == 4
    rows = {line.split("`")[1]: line.split(" | ") for line in one if line.startswith("| `")}
    kept = {row.name: row.at_one for row in page.comparison_of(found["text-14-full"]).rows}
    assert all(rows[name][2].startswith(f"{100 * (own.gain_kept or 0):.0f} ± ") for name, own in kept.items())
    assert (rows["esm"][1], rows["esm"][3], rows["tsv_m"][1]) == ("32 inputs", "–", "none")
    # The nine image tasks were merged before the method smoothed adapters.
    assert rows["dc_merge"][3] == "–" and rows["dc_merge none"][2] == "–"


def test_boards_that_stand_beside_a_first_one_have_its_experts_and_inputs() -> None:
    found = page.read(RESULTS)
    beside = {f"{name}-{end}": name for name in found for end in BESIDE if f"{name}-{end}" in found}
    for more, first in beside.items():
        one, other = (page.comparison_of(found[name]) for name in (more, first))
        assert (one.experts, one.base) == (other.experts, other.base), more


def test_regressions_stand_beside_the_rows_of_their_board() -> None:
    own = page.read(RESULTS)["vision-6-full"]
    again = [{**row, "name": f"{row['name']} again"} for row in own["comparison"]["rows"]]
    more = {**own, "comparison": {**own["comparison"], "rows": again}}
    told = regressions.written({"vision-6-full": own, "vision-6-full-regressions": more})
    assert "| `tsv_m` |" in told and "| `tsv_m again` |" in told and "| `ties` |" not in told
    assert regressions.written({"vision-6-full": own}).startswith("No board")


def test_how_much_better_validation_inputs_look() -> None:
    own = page.read(RESULTS)["text-14-full"]
    told = page.comparison_of(own)
    base = 100 * (told.base_validation - sum(told.base.values()) / len(told.base))
    line = validation.written({"text-14-full": own}).splitlines()[2]
    assert line.split(" | ")[1] == f"{base:+.1f}"


@pytest.mark.suite
def test_variants_of_the_simplex_keep_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    variant = registry.find("simplex_variant")
    deltas = list(torch.randn(3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for plain, known in (({}, "tsv_m"), ({"core": "own blocks"}, "own_blocks")):
        own, other = variant(**plain)(deltas), registry.build(known, {})(deltas)
        assert torch.allclose(as_dense(own), as_dense(other), atol=1e-12)
    framed = variant(simplex="tasks")
    known = registry.build("mda", {"simplex": "tasks"})
    assert torch.allclose(as_dense(framed(deltas)), as_dense(known(deltas)), atol=1e-12)
    assert not torch.allclose(as_dense(framed(deltas)), as_dense(variant(simplex="leading")(deltas)))
    early, late = (variant(simplex="tasks", last=2).for_tensor(0, f"encoder.layer.{layer}.x", []) for layer in (3, 4))
    assert (early.simplex, late.simplex) == ("none", "tasks")
    for choices in ({}, {"simplex": "tasks", "sides": "both"}, {"simplex": "leading"}, {"spectrum": "flat"}):
        check(variant(**choices))
