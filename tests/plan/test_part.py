"""Tensors of equal kinds share a plan's work, and are planned as each alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mergeometry as mg
from mergeometry.plan.part import Alike
from tests.helpers import models


def test_tasks_of_equal_kinds_are_those_that_are_made_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {f"layer.{number}.dense.weight": (6, 4) for number in range(4)} | {"layer.4.dense.weight": (4, 6)}
    recipe = models.write_family(tmp_path, count=2, shapes=shapes)
    place = Path(recipe["models"][1])
    tensors = models.loaded(place)
    models.write_model(place, tensors | {"layer.1.dense.weight": tensors["layer.1.dense.weight"].to(torch.float16)})
    recipe |= {"output": {"dtype": "float32"}, "method": "tsv_m", "tensors": [{"match": "layer.2.*", "scale": 0.5}]}
    shared, kept = mg.make_plan(recipe).tasks, list[object]()
    monkeypatch.setattr(Alike, "key", lambda *_: kept.append(None))
    alone = mg.make_plan(recipe).tasks
    assert len(kept) == len(alone) == 5
    assert [(one.name, one.sources, one.outputs, one.scale, one.route, one.cost) for one in shared] == [
        (one.name, one.sources, one.outputs, one.scale, one.route, one.cost) for one in alone
    ]
