"""Coefficients as fine as held-out inputs allow: from the merge without data, never worse than it, and in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.learning import stages
from mergeometry.learning.agreement import agreement_line, agreement_notes, agreements
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.held_out import Gain
from mergeometry.learning.learnable import Dense, Thin
from mergeometry.learning.stages import PAIRS_FROM, check_every, held_out_share, stages_of
from mergeometry.learning.state import Point, State
from mergeometry.learning.state_file import StateFile
from mergeometry.plan.choice_of_method import FITTED, PLAIN
from mergeometry.recipe.adapt import AdaptSection, LearningSettings
from tests.helpers import models
from tests.helpers.learning_models import prepared_from, with_settings
from tests.helpers.learning_runs import drawn, outcome, plan_of, silent, stopping_at

AUTO = {"steps": 10, "batch_size": 4, "hidden": 0.4, "patience": 0}


def settings(**given: Any) -> LearningSettings:
    return LearningSettings.model_validate(given)


def test_stages_take_all_steps_and_a_named_granularity_has_one() -> None:
    for steps in (1, 2, 3, 30, 300):
        stages = stages_of(settings(steps=steps))
        assert sum(stage.steps for stage in stages) == steps and stages[0].granularity == "tensor"
    assert [stage.granularity for stage in stages_of(settings(steps=30))] == ["tensor", "pair"]
    named = settings(coefficients="pair", steps=30)
    assert [(one.granularity, one.steps, one.rate) for one in stages_of(named)] == [("pair", 30, 0.01)]
    assert check_every(named) == 20 and check_every(settings(steps=30)) == 3
    assert check_every(settings(steps=30, check_every=7)) == 7
    assert [one.rate for one in stages_of(settings(), 128)] == [0.03, 0.01]
    assert [one.rate for one in stages_of(settings(), 384)] == [0.03, pytest.approx(0.01 / 3)]
    assert {one.rate for one in stages_of(settings(learning_rate=0.5))} == {0.5}


def test_few_inputs_have_one_stage_of_few_numbers() -> None:
    (only,) = stages_of(settings(steps=30), inputs=32)
    assert (only.granularity, only.steps) == ("tensor", 30)
    assert len(stages_of(settings(steps=30), inputs=PAIRS_FROM)) == 2
    assert [one.granularity for one in stages_of(settings(coefficients="pair"), inputs=2)] == ["pair"]


def test_inputs_that_are_made_have_one_stage_of_few_numbers() -> None:
    """However many there are: more numbers fit what belongs to no task."""
    task = {"name": "first", "head": "first.safetensors"}
    made = AdaptSection.model_validate({"tasks": [task], "data": {"synthetic": 512}})
    read = AdaptSection.model_validate({"tasks": [{**task, "data": "first.jsonl"}]})
    granularities = [[stage.granularity for stage in stages_of(section, 128, 512)] for section in (made, read)]
    assert granularities == [["tensor"], ["tensor", "pair"]]


def test_more_of_few_inputs_is_held_out() -> None:
    held = {count: int(count * held_out_share(settings(), count)) for count in (1, 2, 3, 8, 32, 120, 2000)}
    assert held == {1: 0, 2: 1, 3: 1, 8: 4, 32: 16, 120: 32, 2000: 200}
    assert held_out_share(settings(held_out=0.1), 8) == held_out_share(settings(coefficients="pair"), 8) == 0.1


def test_finer_coefficients_start_at_the_same_merge() -> None:
    thin, dense = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1)), Dense((drawn(4, 5), drawn(5, 5)))
    tensors = {"a.0.weight": thin, "a.0.bias": dense}
    for coarse in ("task", "layer", "tensor", "direction"):
        table = CoefficientTable(coarse, tensors, dict.fromkeys(tensors, 0.3))
        for number, value in enumerate(table.parameters.values()):
            value.add_(drawn(10 + number, *value.shape))
        before = {name: tensor.update(table.of(name)) for name, tensor in tensors.items()}
        table.refine("pair")
        assert table.of("a.0.weight").shape == (3, 3) and table.granularity == "pair"
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor.update(table.of(name)), before[name])


def test_an_interrupted_stage_goes_on_to_the_same_bits(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "PAIRS_FROM", 2)
    plan = plan_of(inputs, AUTO, method="tsv_m", scale=0.5)
    whole = prepared_from(plan)
    finished = whole.learner.learn(silent, lambda state: None)
    assert finished.stage == 1, "both stages were to run"
    kept = StateFile(tmp_path, "run")
    with pytest.raises(KeyboardInterrupt):
        prepared_from(plan).learner.learn(stopping_at(7), kept.write)
    earlier = kept.read()
    assert earlier is not None
    again = prepared_from(plan)
    again.learner.take(earlier)
    state = again.learner.learn(silent, kept.write)
    assert all(torch.equal(a, b) for a, b in zip(outcome(again), outcome(whole), strict=True))
    assert (state.best, state.best_step, state.best_stage) == (finished.best, finished.best_step, finished.best_stage)
    assert again.table.granularity == whole.table.granularity


def test_where_learning_is_no_better_the_merge_without_data_is_kept(tuned: dict[str, Any], tmp_path: Path) -> None:
    """At a rate at which every step makes it worse: the same bytes as without `adapt:`, and words that say so."""
    recipe = with_settings(tuned, {**AUTO, "steps": 3, "learning_rate": 50.0})
    run = mg.merge(recipe, tmp_path / "learned", workers=1)
    plain = {key: value for key, value in recipe.items() if key != "adapt"}
    mg.merge(plain, tmp_path / "merged", workers=1)
    assert run.adapt is not None and run.adapt["kept_step"] == 0 and run.adapt["coefficients"] == "tensor"
    assert run.recipe["method"] == dict(FITTED["full"].method)
    assert any("did not beat the merge without data" in note for note in run.warnings)
    learned, merged = models.loaded(tmp_path / "learned"), models.loaded(tmp_path / "merged")
    for name, tensor in merged.items():
        torch.testing.assert_close(learned[name], tensor, rtol=1e-5, atol=1e-6)
    assert all(one["start"] == one["kept"] for one in run.adapt["agreement"].values())


@pytest.mark.suite
def test_adapters_start_at_a_merge_with_a_part_for_each_task(adapters: dict[str, Any], tmp_path: Path) -> None:
    recipe = with_settings(adapters, {**AUTO, "steps": 1, "learning_rate": 50.0})
    mg.merge(recipe, tmp_path / "learned", workers=1)
    start = {**recipe, "method": dict(PLAIN.method), "scale": PLAIN.scale}
    mg.merge({key: value for key, value in start.items() if key != "adapt"}, tmp_path / "merged", workers=1)
    learned, merged = models.loaded(tmp_path / "learned"), models.loaded(tmp_path / "merged")
    for name, tensor in merged.items():
        torch.testing.assert_close(learned[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.suite
def test_one_input_leaves_nothing_to_check_on(tuned: dict[str, Any], tmp_path: Path) -> None:
    tasks = [{**task, "data": {"path": task["data"], "limit": 1}} for task in tuned["adapt"]["tasks"]]
    run = mg.merge(with_settings({**tuned, "adapt": {"tasks": tasks}}, AUTO), tmp_path / "out", workers=1)
    assert run.adapt is not None and run.adapt["steps"] == 0
    assert any("too few inputs to hold any out, so nothing was learned" in note for note in run.warnings)


GAIN = Gain(0.1, 0.02, 30, 2.0)


def state_of(*checks: tuple[int, float, float, float], best: int) -> State:
    """A course by its checks: step, training objective, held-out objective, agreement of the only task."""
    points = [Point(step, loss, {}, held, {"a": {"agreement": share}}) for step, loss, held, share in checks]
    return State(step=checks[-1][0], best_step=best, points=points)


def test_what_the_held_out_inputs_say() -> None:
    state = state_of((0, float("nan"), 1.0, 0.9), (10, 0.2, 0.9, 0.8), best=10)
    (share,) = agreements(state)
    assert share.to_json() == {"start": 0.9, "kept": 0.8}
    assert agreement_line({"a": share.to_json()}).endswith("a 90.0 -> 80.0")
    worse, over = agreement_notes(state, chosen=False, numbers=1000, inputs=30, gain=GAIN)
    assert "agrees less with the experts" in worse and "(80.0 % of them, and 90.0 %)" in worse
    assert "overfitting: the held-out objective is 4.5 times" in over and "1,000 coefficients learned from 30" in over
    agreeing = state_of((0, float("nan"), 1.0, 1.0), (10, 0.8, 0.9, 1.0), best=10)
    (told,) = agreement_notes(agreeing, chosen=True, numbers=10, inputs=30, gain=GAIN)
    assert "on every held-out input already" in told
    fine = state_of((0, float("nan"), 1.0, 0.9), (10, 0.8, 0.9, 0.95), best=10)
    assert agreement_notes(fine, chosen=False, numbers=10, inputs=30, gain=GAIN) == []


@pytest.mark.parametrize(
    ("gain", "why"),
    [
        (Gain(-0.1, 0.02, 30, 2.0), "the objective never fell"),
        (Gain(0.1, math.inf, 1), "of one held-out input no error is known"),
        (Gain(0.03, 0.02, 30, 2.0), "fell by 0.03 ± 0.02 on 30 inputs at most, and counts from 2.0 standard errors"),
        (Gain(0.1, 0.02, 30, 2.0), "fewer predictions were the experts'"),
    ],
)
def test_why_the_start_is_kept(gain: Gain, why: str) -> None:
    state = state_of((0, float("nan"), 1.0, 0.9), (10, 0.2, 0.9, 0.8), best=0)
    (told,) = agreement_notes(state, chosen=True, numbers=10, inputs=30, gain=gain)
    assert "did not beat the merge without data" in told and why in told
