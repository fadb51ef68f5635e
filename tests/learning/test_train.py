"""The loop of learning: interrupted and resumed to the same bits, stopped at its best, refused when it diverges."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mergeometry.encoders.batches import Chosen, split
from mergeometry.errors import NumericalError
from mergeometry.learning.build_learner import HELD_OUT_MOST
from mergeometry.learning.forward_backward import Passes
from mergeometry.learning.state import Point
from mergeometry.learning.state_file import StateFile
from tests.helpers.learning_models import prepared_from
from tests.helpers.learning_runs import DISTILL, QUICK, outcome, plan_of, silent, stopping_at

RISING = {
    **DISTILL, "coefficients": "tensor", "steps": 16, "check_every": 2, "batch_size": 4, "held_out": 0.4,
    "learning_rate": 4.0, "patience": 2,
}  # fmt: skip
"""At this rate the held-out objective soon rises."""


@pytest.fixture(scope="module")
def uninterrupted(inputs: dict[str, Any]) -> tuple[Any, Any]:
    """A run from its start to its end: what was learned, and the last state."""
    whole = prepared_from(plan_of(inputs, QUICK))
    finished = whole.learner.learn(silent, lambda state: None)
    return outcome(whole), finished


@pytest.mark.parametrize("stop", [1, 4, 7, 9, 12])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    inputs: dict[str, Any], uninterrupted: tuple[Any, Any], tmp_path: Path, stop: int
) -> None:
    plan = plan_of(inputs, QUICK)
    whole, finished = uninterrupted
    kept = StateFile(tmp_path, "run")
    broken = prepared_from(plan, workers=2)
    with pytest.raises(KeyboardInterrupt):
        broken.learner.learn(stopping_at(stop), kept.write)
    earlier = kept.read()
    assert earlier is not None and earlier.step == max(0, stop - 1) // 4 * 4
    again = prepared_from(plan)
    again.learner.take(earlier)
    state = again.learner.learn(silent, kept.write)
    assert all(torch.equal(a, b) for a, b in zip(outcome(again), whole, strict=True))
    assert [(point.step, point.held_out) for point in state.points] == [
        (point.step, point.held_out) for point in finished.points
    ]
    assert (state.best, state.best_step) == (finished.best, finished.best_step)


def test_a_finished_course_is_taken_up_as_finished(inputs: dict[str, Any], tmp_path: Path) -> None:
    """Interrupted while weights were written: what had stopped early does not learn on."""
    plan = plan_of(inputs, RISING)
    kept = StateFile(tmp_path, "run")
    whole = prepared_from(plan)
    finished = copy.deepcopy(whole.learner.learn(silent, kept.write))
    assert finished.step < 16, "it was to stop early"
    earlier = kept.read()
    assert earlier is not None
    again = prepared_from(plan)
    again.learner.take(earlier)
    state = again.learner.learn(stopping_at(finished.step + 1), kept.write)
    assert state.step == finished.step
    assert all(torch.equal(a, b) for a, b in zip(outcome(again), outcome(whole), strict=True))


def test_the_best_held_out_state_is_kept(inputs: dict[str, Any]) -> None:
    """At a rate at which the objective soon rises: the parameters are those of its least value."""
    prepared = prepared_from(plan_of(inputs, RISING))
    seen: list[tuple[float, list[Tensor]]] = []

    def report(point: Point) -> None:
        if point.held_out is not None:
            seen.append((point.held_out, outcome(prepared)))

    state = prepared.learner.learn(report, lambda state: None)
    values = [value for value, _ in seen]
    assert state.best == min(values) and len(values) >= 3
    assert values.index(min(values)) < len(values) - 1, "the last was best: nothing to see"
    best = seen[values.index(min(values))][1]
    assert all(torch.equal(a, b) for a, b in zip(outcome(prepared), best, strict=True))
    waited = len(values) - 1 - values.index(min(values))
    assert waited == 2 or state.step == 16
    held = [rows for _, rows in (split(40, 0.4, HELD_OUT_MOST, 5, task) for task in range(3))]
    passes = Passes(prepared.scene, 1)
    again = passes.values([Chosen(task, row) for task, rows in enumerate(held) for row in rows], prepared.table)
    passes.close()
    terms = next(point.by_task for point in state.points if point.step == state.best_step)
    expected = sum(own["distill"] + 0.4 * own["hidden"] for own in terms.values()) / 3
    assert again.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rotation", ["subspace", "full"])
def test_rotations_stay_rotations(inputs: dict[str, Any], rotation: str) -> None:
    settings = {
        **QUICK,
        "rotation": rotation,
        "steps": 60,
        "check_every": 30,
        "rotation_learning_rate": 0.2,
        "coefficients": "fixed",
    }
    prepared = prepared_from(plan_of(inputs, settings))
    start = outcome(prepared)
    prepared.learner.learn(silent, lambda state: None)
    for task, own in enumerate(prepared.scene.rotations):
        assert own is not None
        R = own.matrix().detach().double()
        assert float((R @ R.T - torch.eye(16)).abs().max()) < 1e-5
        assert float(torch.linalg.det(R)) == pytest.approx(1.0, abs=1e-5)
        assert float((R - torch.eye(16)).norm()) > 0.3, f"rotation {task} hardly moved"
    count = len(prepared.table.parameters)
    assert all(torch.equal(a, b) for a, b in zip(start[:count], outcome(prepared)[:count], strict=True))


def test_a_full_rotation_follows_its_target_alone(inputs: dict[str, Any]) -> None:
    """Neither alignment nor a subspace asks for prototypes here, but the target does."""
    settings = {**QUICK, "rotation": "full", "alpha": 0.0, "entropy": 1e-6, "beta": 5.0, "coefficients": "fixed"}
    prepared = prepared_from(
        plan_of(inputs, {**settings, "steps": 80, "check_every": 40, "rotation_learning_rate": 0.1})
    )
    state = prepared.learner.learn(silent, lambda state: None)
    distances = [point.terms["rotation"] for point in state.points if point.terms]
    assert distances[-1] < 0.2 * distances[0]


@pytest.mark.parametrize("held_out", [0.2, 0.0])
@pytest.mark.parametrize("check_every", [1, 3])
def test_divergence_keeps_the_last_good_state(
    inputs: dict[str, Any], tmp_path: Path, held_out: float, check_every: int
) -> None:
    good = {**QUICK, "held_out": held_out, "check_every": check_every}
    kept = StateFile(tmp_path, "run")
    before = prepared_from(plan_of(inputs, good))
    with pytest.raises(KeyboardInterrupt):
        before.learner.learn(stopping_at(5), kept.write)
    earlier = kept.read()
    assert earlier is not None and earlier.step in (3, 4)
    wild = prepared_from(plan_of(inputs, {**good, "learning_rate": 1e30}))
    wild.learner.take(earlier)
    with pytest.raises(NumericalError, match=r"not finite at step \d+(.|\n)*lower adapt.learning_rate") as caught:
        wild.learner.learn(silent, kept.write)
    state = kept.read()
    assert state is not None and f"continues from step {state.step}," in str(caught.value)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.tensors.values())
    assert max(float(t.abs().max()) for name, t in state.tensors.items() if name.startswith("now/")) < 100
    tame = prepared_from(plan_of(inputs, {**good, "learning_rate": 1e-3}))
    tame.learner.take(state)
    assert tame.learner.learn(silent, kept.write).step == 12


def test_a_rotation_that_rounding_destroys_is_divergence(inputs: dict[str, Any]) -> None:
    prepared = prepared_from(plan_of(inputs, {**QUICK, "rotation_learning_rate": 1e25}))
    with pytest.raises(NumericalError, match="not finite at step"):
        prepared.learner.learn(silent, lambda state: None)


def test_a_merge_that_is_not_finite_to_begin_with(inputs: dict[str, Any]) -> None:
    prepared = prepared_from(plan_of(inputs, {**QUICK, "rotation": "none", "beta": 0.0}, scale=1e20))
    with pytest.raises(NumericalError, match=r"at step 0(.|\n)*lower `scale`"):
        prepared.learner.learn(silent, lambda state: None)
