"""Whether a lower objective on held-out inputs counts: input by input, beyond chance, and stage by stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.encoders.batches import Chosen
from mergeometry.learning.forward_backward import Passes
from mergeometry.learning.held_out import CHANCE, ByInput, Gain, HeldOut
from tests.helpers.learning_models import prepared_from
from tests.helpers.learning_runs import DISTILL, QUICK, moved, plan_of

INPUTS = [Chosen(task, row) for task, rows in enumerate((12, 4, 1)) for row in range(rows)]


def values(numbers: Sequence[float], wrong: Sequence[float] | None = None) -> ByInput:
    """The objective of every input, and where the merge does not predict what the expert does."""
    return dict(zip(INPUTS, zip(numbers, wrong or [0.0] * len(INPUTS), strict=True), strict=True))


def test_the_fall_is_a_mean_over_tasks_with_its_standard_error() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(size=(2, len(INPUTS)))
    held_out = HeldOut(INPUTS)
    assert held_out.is_better(values(before.tolist())), "the first is the start"
    held_out.is_better(values(after.tolist()))
    held_out.keep(values(after.tolist()))
    falls, tasks = before - after, np.array([one.task for one in INPUTS])
    mean = np.mean([falls[tasks == task].mean() for task in range(3)])
    shares = np.array([1 / (3 * (tasks == task).sum()) for task in tasks])
    error = math.sqrt(len(falls) / (len(falls) - 1) * sum((shares * (falls - mean)) ** 2))
    assert held_out.gain.mean == pytest.approx(mean, rel=1e-12)
    assert held_out.gain.error == pytest.approx(error, rel=1e-12) and held_out.gain.inputs == len(INPUTS)


def test_of_inputs_of_one_task_it_is_the_usual_standard_error() -> None:
    falls = np.random.default_rng(2).normal(size=30)
    held_out = HeldOut([Chosen(0, row) for row in range(30)])
    held_out.is_better({Chosen(0, row): (0.0, 0.0) for row in range(30)})
    held_out.keep({Chosen(0, row): (-fall, 0.0) for row, fall in enumerate(falls)})
    assert held_out.gain.error == pytest.approx(falls.std(ddof=1) / math.sqrt(30), rel=1e-12)


def test_chance_seldom_counts_and_a_small_even_fall_does() -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(size=len(INPUTS))
    for counts in ((2, 2), (4,), (12, 12, 12), (12, 4, 1)):
        shown, inputs = 0, [Chosen(task, row) for task, rows in enumerate(counts) for row in range(rows)]
        for _ in range(500):
            held_out = HeldOut(inputs)
            held_out.is_better(dict.fromkeys(inputs, (0.0, 0.0)))
            shown += held_out.is_better({one: (float(rng.normal()), 0.0) for one in inputs})
        assert shown < 500 * 2 * CHANCE, counts
    held_out = HeldOut(INPUTS)
    held_out.is_better(values(before.tolist()))
    assert held_out.is_better(values((before - 0.01 - 0.001 * rng.normal(size=len(INPUTS))).tolist()))


def test_a_lower_objective_with_fewer_of_the_experts_predictions_does_not_count() -> None:
    start = [1.0] * len(INPUTS)
    better = [0.5 + 0.01 * (row % 3) for row in range(len(INPUTS))]
    for lost, counts in ((0, True), (1, True), (9, False)):
        held_out = HeldOut(INPUTS)
        held_out.is_better(values(start))
        assert held_out.is_better(values(better, [float(row < lost) for row in range(len(INPUTS))])) == counts


def test_a_stage_has_to_beat_the_one_before_it() -> None:
    held_out = HeldOut(INPUTS)
    steps = [[level + 0.01 * (row % 3) * level for row in range(len(INPUTS))] for level in (1.0, 0.5)]
    unsure = [value + 0.2 * (-1) ** row - 0.01 for row, value in enumerate(steps[1])]
    held_out.is_better(values(steps[0]))
    assert held_out.is_better(values(steps[1]))
    held_out.keep(values(steps[1]))
    assert held_out.is_better(values(unsure)), "well below the start"
    held_out.next_stage()
    assert not held_out.is_better(values(unsure)), "but hardly below the best of the first stage"
    again = HeldOut(INPUTS)
    again.take(held_out.tensors())
    assert again.gain == held_out.gain and not again.is_better(values(unsure))


def test_of_one_input_nothing_can_be_told() -> None:
    held_out = HeldOut([Chosen(0, 0)])
    assert held_out.is_better({Chosen(0, 0): (1.0, 0.0)})
    assert not held_out.is_better({Chosen(0, 0): (0.1, 0.0)})
    assert held_out.gain.to_json() == {"fell_by": 0.0, "standard_error": None, "inputs": 1}
    assert not HeldOut([]) and HeldOut([]).gain == Gain()
    assert Gain(2.1, 1.0, 90, 2.0).shown and not Gain(1.9, 1.0, 90, 2.0).shown and not Gain(0.0, 0.0, 90, 2.0).shown


def test_the_values_of_inputs_make_up_the_objective(inputs: dict[str, Any]) -> None:
    prepared = prepared_from(plan_of(inputs, {**QUICK, **DISTILL}))
    moved(prepared)
    chosen = [Chosen(task, row) for task, rows in enumerate((5, 2, 3)) for row in range(rows)]
    passes = Passes(prepared.scene, 1)
    whole, pulled = passes.values(chosen, prepared.table), passes.gradients(chosen, prepared.table)
    alone = passes.values(chosen[:1], prepared.table)
    passes.close()
    by_task = [[whole.inputs[one][0] for one in chosen if one.task == task] for task in range(3)]
    assert whole.loss == pytest.approx(sum(sum(own) / len(own) for own in by_task) / 3, rel=1e-9)
    assert whole.loss == pytest.approx(pulled.loss, rel=1e-5) and not pulled.inputs
    assert alone.loss * 3 == pytest.approx(whole.inputs[chosen[0]][0], rel=1e-4)
    wrong = [whole.inputs[one][1] for one in chosen if one.task == 0]
    assert whole.terms[0, "agreement"] == pytest.approx(1 - sum(wrong) / len(wrong))
    assert torch.tensor(by_task[0]).std() > 0
