"""What decides whether two runs of learning are the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mergeometry.learning.from_plan import identity_of
from mergeometry.learning.run import load_inputs
from tests.helpers.learning_runs import CPU, QUICK, plan_of


def test_rates_and_lengths_are_no_part_of_the_identity(inputs: dict[str, Any]) -> None:
    def identity(settings: Mapping[str, Any], heads: float = 0.0, **recipe: Any) -> str:
        plan = plan_of(inputs, {**QUICK, **settings}, **recipe)
        assert plan.recipe.adapt is not None
        data, _, found = load_inputs(plan, plan.recipe.adapt, CPU, lambda *_: None)
        return identity_of(plan, plan.recipe.adapt, data, [replace(h, bias=h.bias + heads) for h in found if h])

    own = identity({})
    for free in (
        {"steps": 99},
        {"learning_rate": 0.5},
        {"rotation_learning_rate": 1.0},
        {"patience": 3},
        {"check_every": 2},
    ):
        assert identity(free) == own, free
    assert identity({}, output={"dtype": "float16"}) == own
    for other in ({"batch_size": 5}, {"alpha": 0.5}, {"coefficients": "layer"}, {"held_out": 0.3}):
        assert identity(other) != own, other
    assert identity({}, seed=6) != own and identity({}, scale=0.5) != own and identity({}, method="tsv_m") != own
    assert identity({}, heads=0.1) != own, "other heads, the same identity"
