"""The study's mathematics on small tables, and that page, library and kept results are one."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from benchmarks.studies.calibration.__main__ import PAGE
from benchmarks.studies.calibration.boards import ADAPTERS, entries_of, recorded
from benchmarks.studies.calibration.correlation import (
    against_controls,
    over_columns,
    over_pairs_of,
    over_rows,
    spearman,
    within_rows,
)
from benchmarks.studies.calibration.experience import kept_by_auto
from benchmarks.studies.calibration.fit import Rows, chosen, error_on, interval, ridge
from benchmarks.studies.calibration.inputs_table import table_of
from benchmarks.studies.calibration.left_out import FIGURES, agreement, gains
from benchmarks.studies.calibration.levels import layers_of, lost, pairs_of, tables_of
from benchmarks.studies.calibration.measure import figures_at, terms_of
from benchmarks.studies.calibration.on_inputs import read_on_inputs
from benchmarks.studies.calibration.page import on_page
from benchmarks.studies.calibration.summary import COMMAND, CONSTANTS, ON_INPUTS, RESULT, boards, constants, of_inputs
from benchmarks.studies.leaderboards.run import RESULTS as LEADERBOARDS
from benchmarks.studies.method_choice.arms import read as read_arms
from mergeometry.diagnostics.accumulation import accumulation
from mergeometry.diagnostics.alignment import ENERGY, share_held, subspace_alignment
from mergeometry.linalg.spectrum import Spectrum
from mergeometry.plan.choice_of_method import FITTED
from mergeometry.values import Delta

NAMES = ("one", "other", "noise")


def rows(seed: int, count: int = 60, shift: float = 0.0) -> Rows:
    """Rows whose loss is `5 + 2 one` with little noise, `other` and `noise` aside."""
    generator = np.random.default_rng(seed)
    figures = {name: generator.normal(shift, 1, count) for name in NAMES}
    tasks = np.array([f"task{place % 4}" for place in range(count)])
    return Rows(figures, 5 + 2 * figures["one"] + generator.normal(0, 0.1, count), tasks)


def test_rank_correlation_is_scipys_and_undefined_where_nothing_varies() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 4, (3, 9)), generator.normal(size=(3, 9))
    expected = [spearmanr(one, other)[0] for one, other in zip(first, second, strict=True)]
    assert spearman(first, second) == pytest.approx(expected)
    assert np.isnan(spearman(np.ones((1, 5)), second[:1, :5])).all()


def test_a_figure_holds_only_where_every_board_agrees() -> None:
    generator = np.random.default_rng(1)
    figure = generator.normal(size=(6, 12))
    same, opposed = (figure, figure + 0.1 * generator.normal(size=(6, 12))), (figure, -figure)
    good = over_columns([same, same])
    assert good.agrees and good.rho is not None and good.low is not None and good.low > 0.5
    mixed = over_columns([same, same, opposed])
    assert mixed.boards[2] == pytest.approx(-1) and not mixed.agrees
    unrelated = over_columns([(figure, generator.normal(size=(6, 12)))])
    assert not unrelated.agrees
    assert over_columns([(np.ones((2, 5)), figure[:2, :5])]).rho is None
    assert over_rows([same]).rho == pytest.approx(spearmanr(same[0].mean(axis=1), same[1].mean(axis=1))[0])


def test_pairs_resample_models() -> None:
    generator = np.random.default_rng(2)
    pairs = [(one, other) for one in "abcdefgh" for other in "abcdefgh" if one < other]
    figure = generator.normal(size=len(pairs))
    same = (pairs, figure, figure + 0.3 * generator.normal(size=len(pairs)))
    found = over_pairs_of([same, same])
    assert found.agrees and found.rho is not None and found.rho > 0.8 and found.boards[0] == found.boards[1]
    assert not over_pairs_of([(pairs, figure, generator.normal(size=len(pairs)))]).agrees
    assert not over_pairs_of([same, (pairs, figure, -figure)]).agrees
    assert over_pairs_of([(pairs, np.ones(len(pairs)), figure)]).rho is None


def test_layers_resample_tasks() -> None:
    loss = np.arange(12.0).reshape(2, 6)
    found = within_rows([(np.stack([loss[0], -loss[1]]), loss)])
    assert found.rho == pytest.approx(0) and not found.agrees
    assert within_rows([(loss, loss)]).low == pytest.approx(1)


def test_a_figure_has_to_beat_every_control_of_its_level() -> None:
    def own(rho: float, agrees: bool = True) -> dict[str, object]:
        return {"rho": rho, "agrees": agrees}

    found = against_controls(
        {
            "norm": {"tasks": own(-0.5, agrees=False), "merges": own(0.2)},
            "strong": {"tasks": own(0.6)}, "near": {"tasks": own(0.52)},
            "weak": {"tasks": own(0.4), "merges": own(-0.3)},
            "divided": {"tasks": own(0.9, agrees=False), "pairs": own(0.1)},
        },
        ["norm"],
    )  # fmt: skip
    holds = {(name, level) for name, levels in found.items() for level, one in levels.items() if one["holds"]}
    assert holds == {("norm", "merges"), ("strong", "tasks"), ("weak", "merges"), ("divided", "pairs")}


def test_levels_read_boards_as_they_are_kept() -> None:
    scores = {("a", 1.0): (0.8, 0.4), ("b", 0.5): (0.6, 0.2), ("c", 0.5): (0.7, 0.3)}
    board = {
        "experts": {"x": 0.9, "y": 0.5},
        "before": {"x": {"cosine": 0.1}, "y": {"cosine": 0.2}},
        "rows": [
            {"method": method, "scale": scale, "task": task, "score": score, "figures": {"distance": -score}}
            for (method, scale), pair in scores.items()
            for task, score in zip("xy", pair, strict=True)
        ],
    }
    assert over_rows(list(tables_of({"own": board}, "distance").values())).rho == pytest.approx(1)
    (table,) = tables_of({"own": board}, "before: cosine").values()
    assert over_columns([table]).rho == pytest.approx(1)  # y loses more in every merge
    assert lost(0.45, 0.9) == pytest.approx(np.log(2))
    part = {**board, "rows": [{"pair": ["x", "y"], "scores": {"x": 0.9, "y": 0.25}, "figures": {"conflict": 0.4}}]}
    (pairs,) = pairs_of({"own": part}, "conflict").values()
    assert pairs[0] == [("x", "y")] and pairs[1].tolist() == [0.4] and pairs[2] == pytest.approx([np.log(2) / 2])
    assert pairs_of({"own": part}, "cosine")["own"][1] == pytest.approx([0.15])  # of single models: the mean of both
    assert pairs_of({"own": part}, "distance") == {}
    layers = [
        {"task": task, "layer": layer, "score": score, "figures": {"residual": layer}}
        for task in "xy" for layer, score in enumerate((0.5, 0.25))
    ]  # fmt: skip
    (table,) = layers_of({"own": {**board, "rows": layers}}, "residual").values()
    assert table[0].tolist() == [[0, 1], [0, 1]] and table[1][1] == pytest.approx([0, np.log(2)])


def test_a_language_models_scores_are_likelihoods() -> None:
    comparison = recorded("language-model")
    best = comparison["rows"][0]["at_best"]["tasks"]
    for task, expert in comparison["experts"].items():
        assert 0 < comparison["base"][task] < best[task] < expert < 1, task


@pytest.mark.parametrize("name", boards())
def test_rows_are_merged_again_as_they_were_scored(name: str) -> None:
    """`dc_merge` did not smooth adapters when the first boards of adapters were scored."""
    entries = {entry.name: entry.method for entry in entries_of(name)}
    assert set(entries) <= {row["name"] for row in recorded(name)["rows"]}
    smoothed = dict(entries["dc_merge"]).get("smoothing", "auto") != "none"
    assert smoothed == (name not in ("text-8-adapters", "vision"))


def test_the_model_finds_the_law_and_its_interval_covers_an_unseen_family() -> None:
    families = {name: rows(seed) for seed, name in enumerate(("first", "second", "third"))}
    model = chosen(families, NAMES)
    assert model.names[0] == "one" and model.below < 0 < model.above
    result = error_on(families, ["first", "second"], "third", NAMES)
    assert result.error < 0.2 < result.constant_error and result.rho > 0.95 and 0.75 <= result.coverage <= 1
    alone = error_on(families, ["first"], "third", NAMES)  # a single family is held out task by task
    assert alone.names[0] == "one" and alone.error < 0.2
    assert ridge(families, ["one"], 1e-9).weights[0] / ridge(families, ["one"], 1e-9).size[0] == pytest.approx(
        2, rel=0.05
    )


def test_the_interval_is_that_of_the_worst_family() -> None:
    near = np.linspace(0.9, 1.1, 101), np.ones(101)
    far = np.linspace(2.0, 4.0, 101), np.full(101, 2.0)  # errors count over the estimate
    assert interval({"near": near, "far": far}) == pytest.approx((-0.09, 0.95))


def test_figures_at_a_scale_are_those_of_the_scaled_merge() -> None:
    generator = torch.Generator().manual_seed(0)
    deltas: list[Delta] = [torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    merged, scale = torch.randn(7, 5, generator=generator, dtype=torch.float64), 0.4
    norms = [float(torch.linalg.matrix_norm(delta)) for delta in deltas if isinstance(delta, torch.Tensor)]
    found = [
        figures_at({**terms, "base": 4.0}, scale)
        for terms in terms_of(merged, deltas, matrix=True, scales=[[scale, 1.0]])[0]
    ]
    scaled = scale * merged
    whole = Spectrum.of(scaled, 5)
    counted, energy = accumulation(whole.leading, deltas), whole.leading.values.square()
    for own, delta, norm in zip(found, deltas, norms, strict=True):
        assert isinstance(delta, torch.Tensor)
        away = float(torch.linalg.matrix_norm(scaled - delta))
        assert own["share_held"] == pytest.approx(share_held(float((scaled * delta).sum()), norm))
        assert own["distance"] == pytest.approx(away / norm) and own["distance_of_base"] == pytest.approx(away / 2)
        assert own["alignment"] == pytest.approx(subspace_alignment(whole.holding(ENERGY), delta, norm))
        assert own["accumulated"] == pytest.approx(float((counted * energy).sum() / energy.sum()))


def test_page_and_library_are_written_from_the_kept_result() -> None:
    result, on_inputs = (json.loads(place.read_text("utf-8")) for place in (RESULT, ON_INPUTS))
    assert json.loads(CONSTANTS.read_text("utf-8")) == constants(result, on_inputs), COMMAND
    page = PAGE.read_text("utf-8")
    assert on_page(page, result, on_inputs, read_on_inputs()[ADAPTERS]) == page, COMMAND


def test_figures_on_inputs_count_where_they_are_defined() -> None:
    tasks, merges = "vwxyz", [("a", 1.0), ("b", 0.5), ("c", 0.5)]
    rows = [
        {"method": method, "scale": scale, "task": task, "score": 0.9 - 0.1 * place - 0.02 * number,
         "figures": {"disagreement": 0.1 * place + 0.02 * number, "nc2_lengths": None if task == "v" else 0.1 * place}}
        for place, (method, scale) in enumerate(merges)
        for number, task in enumerate(tasks)
    ]  # fmt: skip
    board = {"experts": dict.fromkeys(tasks, 0.9), "rows": rows}
    weights = {"rows": [{**row, "figures": {"merged_norm": 1.0}} for row in rows]}
    whole, fewer = (table_of(board, weights, figure) for figure in ("disagreement", "nc2_lengths"))
    assert whole is not None and whole[0].shape == (3, 5) and fewer is not None and fewer[0].shape == (3, 4)
    two = {**board, "experts": dict.fromkeys("vw", 0.9), "rows": [row for row in rows if row["task"] in "vw"]}
    assert table_of(two, weights, "disagreement") is None, "two tasks have no order worth a correlation"
    assert over_columns([whole]).rho == pytest.approx(1)
    norm = table_of(board, weights, "merged_norm")
    assert norm is not None and norm[0].tolist() == [[1.0] * 5] * 3


def test_the_words_of_figures_on_inputs_have_their_sign() -> None:
    kept = {"rho": 0.9, "low": 0.8, "high": 0.95, "holds": True}
    correlations = {"disagreement": {"merges": kept}, "nc3": {"merges": {**kept, "holds": False}}}
    assert of_inputs({"correlations": correlations}) == {
        "on inputs: agreement": [{"level": "merges", "rho": -0.9, "low": -0.95, "high": -0.8}]
    }


def test_what_the_others_gain_is_in_shares_of_their_experts() -> None:
    without = {"x": {"y": 0.8, "z": 0.8}, "y": {"x": 0.4, "z": 0.4}, "z": {"x": 0.6, "y": 0.4}}
    part = {
        "experts": {"x": 0.8, "y": 0.8, "z": 0.8}, "inputs": 10,
        "methods": {"sum": {"scale": 1.0, "all": {"x": 0.4, "y": 0.4, "z": 0.4}, "without": without}},
    }  # fmt: skip
    found = gains(part, "sum")
    assert found == pytest.approx({"x": np.log(2), "y": 0.0, "z": np.log(1.5) / 2})
    before = {name: dict.fromkeys(FIGURES, value) for name, value in zip("xyz", (3.0, 1.0, 2.0), strict=True)}
    assert agreement(part, before, "sum") == pytest.approx(dict.fromkeys(FIGURES, 1.0))


def test_what_auto_kept_is_of_the_boards_that_scored_its_choice() -> None:
    kept, boards = kept_by_auto(), read_arms(LEADERBOARDS)
    for group, merge in FITTED.items():
        of_group = {name: board for name, board in boards.items() if board.group == group}
        scored = {name: next(own for arm, own in board.arms.items() if arm.merge == merge)
                  for name, board in of_group.items()}  # fmt: skip
        shares = []
        for name, own in scored.items():
            board = json.loads((LEADERBOARDS / f"{name}.json").read_text("utf-8"))["comparison"]
            if own.test is not None:
                shares.append(own.test / fmean(board["experts"].values()))
        assert (kept[group]["low"], kept[group]["high"]) == (min(shares), max(shares))
        assert kept[group]["boards"] == len(shares) > 1
        assert kept[group]["fewest_tasks"] < kept[group]["most_tasks"]
