"""Experts at the merge's own strength: the factor, what then counts, and where it is done."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mergeometry.encoders.batches import Chosen
from mergeometry.learning.forward_backward import Passes
from mergeometry.learning.stages import PAIRS_FROM, matches_strength
from mergeometry.learning.strength import at_strength, strength, strengths
from mergeometry.recipe.adapt import LearningSettings
from tests.helpers.learning_models import prepared_from
from tests.helpers.learning_runs import drawn, plan_of

AUTO = {"steps": 4, "batch_size": 4, "held_out": 0.2, "patience": 0}


def test_the_factor_is_that_of_least_squares_and_has_bounds() -> None:
    expert = drawn(1, 40, 5)
    merged = 0.37 * expert + drawn(2, 40, 1)
    assert strength(merged, expert) == pytest.approx(0.37, rel=1e-5), "a constant per row decides nothing"
    noisy = merged + 0.3 * drawn(3, 40, 5)
    theirs = (expert - expert.mean(1, keepdim=True)).double()
    factors = torch.linspace(0.05, 1, 9501).double()
    centred = (noisy - noisy.mean(1, keepdim=True)).double()
    errors = torch.stack([(centred - factor * theirs).square().sum() for factor in factors])
    assert strength(noisy, expert) == pytest.approx(float(factors[errors.argmin()]), abs=1e-4)
    assert strength(3 * expert, expert) == 1.0 and strength(-expert, expert) == 0.05
    assert strength(merged, torch.zeros(40, 5)) == 1.0


def test_few_inputs_are_compared_at_the_strength_of_the_merge(inputs: dict[str, Any]) -> None:
    prepared = prepared_from(plan_of(inputs, AUTO))
    assert set(prepared.strengths) == set(prepared.learner.labels)
    assert prepared.scene.objective.weights.hidden == 0 and prepared.scene.objective.weights.distill == 1
    for label, terms in zip(prepared.learner.labels, prepared.scene.terms, strict=True):
        assert terms.head is not None and terms.teacher is not None
        torch.testing.assert_close(terms.teacher.weight, terms.head.weight * prepared.strengths[label])
        torch.testing.assert_close(terms.teacher.bias, terms.head.bias * prepared.strengths[label])


def test_strength_changes_the_objective_and_no_prediction(inputs: dict[str, Any]) -> None:
    prepared = prepared_from(plan_of(inputs, {**AUTO, "hidden": 0.0}))
    assert not prepared.strengths, "weights that are given stay as they are"
    rows = [list(range(6))] * 3
    shares = strengths(prepared.scene, prepared.table, rows)
    chosen = [Chosen(task, row) for task, own in enumerate(rows) for row in own]
    found = []
    for scene in (prepared.scene, at_strength(prepared.scene, shares)):
        passes = Passes(scene, 1)
        found.append(passes.values(chosen, prepared.table))
        passes.close()
    whole, shortened = found
    assert shortened.loss < whole.loss
    assert all(shortened.terms[task, "agreement"] == whole.terms[task, "agreement"] for task in range(3))


def test_where_experts_keep_their_strength() -> None:
    few, heads = [PAIRS_FROM - 1] * 2, [object(), object()]

    def matched(counts: list[int] = few, heads: list[Any] = heads, **given: Any) -> bool:
        return matches_strength(LearningSettings.model_validate(given), counts, heads)

    assert matched() and matched(learning_rate=0.1)
    assert not matched([PAIRS_FROM, PAIRS_FROM]) and not matched(heads=[object(), None])
    assert not matched(coefficients="tensor") and not matched(objective="logits") and not matched(temperature=2.0)
