"""A merged model hands its encoder the weights, and takes their gradients back, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from mergeometry.encoders.sites import Site
from mergeometry.learning.coefficients import CoefficientTable
from mergeometry.learning.learnable import Dense, Thin
from mergeometry.learning.merged import MergedModel
from tests.helpers.learning_runs import drawn


def test_transposed_weights_pull_back_as_they_are_stored() -> None:
    """GPT-2 keeps (inputs, outputs), parts are (outputs, inputs)."""
    thin = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1))
    dense = Dense((drawn(4, 7, 4), drawn(5, 7, 4)))
    holder = nn.Linear(7, 4)  # its weight is (4, 7): the transposed one's shape

    class Held:
        names: Mapping[str, str] = {"w": "weight"}
        base = staticmethod(lambda name: holder.get_parameter(name).detach())

    for learnable in (thin, dense):
        for granularity in ("direction", "task"):
            merged = MergedModel(Held(), {"w": learnable}, [Site("w", "weight", True)])  # pyright: ignore
            table = CoefficientTable(granularity, {"w": learnable}, {"w": 0.4})
            parameter = next(iter(table.parameters.values()))
            parameter += 0.1 * drawn(6, *parameter.shape)
            weight = merged.weights(table, torch.float32)["weight"]
            assert torch.allclose(weight, holder.weight + learnable.update(table.of("w")).T)
            gradient = drawn(7, 4, 7)
            found = merged.pull_back(merged.sites[0], gradient, table)
            small = 1e-2
            for place in range(len(found)):
                moved = table.of("w").clone()
                moved[place] += small
                change = (learnable.update(moved) - learnable.update(table.of("w"))).T
                assert float((gradient * change).sum()) / small == pytest.approx(float(found[place]), abs=2e-3)
