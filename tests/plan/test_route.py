"""The route of every tensor is decided once, when its task is made, by what the merge needs of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.methods import registry
from mergeometry.plan.tasks import TensorTask
from tests.helpers import models

MATRIX, BIAS = "layer.0.dense.weight", "layer.0.dense.bias"


def task_of(folder: Path, name: str, **given: Any) -> TensorTask:
    plan = mg.make_plan({**models.write_family(folder, count=2), **given})
    return next(task for task in plan.tasks if task.name == name)


@pytest.mark.parametrize(
    ("given", "matrix", "bias"),
    [
        ({"method": "average"}, "chunks", "chunks"),
        ({"method": "rows"}, "passes", "passes"),
        ({"method": "ties"}, "passes", "passes"),
        ({"method": "tsv_m"}, "whole", "chunks"),
        ({"method": "slerp"}, "passes", "passes"),
        ({"method": "knots"}, "whole", "chunks"),
        ({"method": "average", "refine": ["norm"]}, "whole", "chunks"),
        ({"method": "average", "scale": {"rule": "projection", "per": "tensor"}}, "whole", "whole"),
        ({"method": "average", "scale": {"rule": "projection", "per": "model"}}, "chunks", "chunks"),
    ],
    ids=str,
)
def test_the_route_is_what_the_merge_needs(tmp_path: Path, given: dict[str, Any], matrix: str, bias: str) -> None:
    assert task_of(tmp_path / "one", MATRIX, **given).route == matrix
    assert task_of(tmp_path / "two", BIAS, **given).route == bias


def test_a_changed_task_has_the_route_and_the_cost_of_what_it_became(tmp_path: Path) -> None:
    task = task_of(tmp_path, MATRIX, method="average")
    turned = replace(task, turned=torch.eye(6))
    assert (task.route, turned.route) == ("chunks", "whole")
    other = replace(task, method=registry.build("tsv_m", {}))
    assert other.route == "whole"
    assert other.cost.flops > task.cost.flops
    assert replace(other, method=task.method).cost == task.cost


def test_an_adapter_is_written_as_factors_and_what_no_model_changed_is_copied(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, adapters=3)
    plan = mg.make_plan({**family, "method": "tsv_m", "output": {"adapter": True}})
    routes = {task.name: task.route for task in plan.tasks}
    adapted = {task.name for task in plan.tasks if len(task.outputs) == 2}
    assert adapted
    assert {name for name, route in routes.items() if route == "factors"} == adapted
    assert {route for name, route in routes.items() if name not in adapted} == {"copy"}
