"""Short runs of learning on the tiny families: their settings, their parts, and where to stop them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mergeometry.learning.build_learner import Prepared
from mergeometry.learning.state import Point
from mergeometry.plan import Plan, make_plan
from mergeometry.recipe import load_recipe
from tests.helpers import learning_models

CPU = torch.device("cpu")
CLASSES = (3, 4, 2)
MDA = {"objective": "mda", "alpha": 0.7, "beta": 0.3, "rotation": "subspace"}
DISTILL = {"objective": "distill", "hidden": 0.4, "temperature": 1.5}
QUICK = {
    **MDA, "coefficients": "tensor", "steps": 12, "check_every": 4, "batch_size": 4, "held_out": 0.2,
    "learning_rate": 0.02, "rotation_learning_rate": 0.02, "patience": 0,
}  # fmt: skip


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plan_of(inputs: Mapping[str, Any], settings: Mapping[str, Any], **recipe: Any) -> Plan:
    recipe = {"method": "mda", "scale": 0.4, "seed": 5, **recipe}
    return make_plan(load_recipe(learning_models.with_settings(inputs, settings, **recipe)))


def moved(prepared: Prepared, size: float = 0.2) -> None:
    """Away from the start, where much is zero or symmetric."""
    with torch.no_grad():
        for place, value in enumerate(prepared.table.parameters.values()):
            value.add_(drawn(60 + place, *value.shape), alpha=0.1)
        for place, rotation in enumerate(prepared.scene.rotations):
            if rotation is not None:
                rotation.coordinates += size * drawn(40 + place, *rotation.coordinates.shape)


def outcome(prepared: Prepared) -> list[Tensor]:
    turned = [r.matrix().detach() for r in prepared.scene.rotations if r is not None]
    return [value.clone() for value in prepared.table.parameters.values()] + turned


def silent(_point: Point) -> None:
    pass


def stopping_at(step: int) -> Callable[[Point], None]:
    def report(point: Point) -> None:
        if point.step == step:
            raise KeyboardInterrupt

    return report
