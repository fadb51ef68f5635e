"""Which tensors share a coefficient, and gradients that gather as coefficients spread."""

from __future__ import annotations

import pytest

from mergeometry.learning.coefficients import CoefficientTable, layer_of
from mergeometry.learning.learnable import Dense, Thin
from tests.helpers.learning_runs import drawn

GRANULARITIES = ("task", "layer", "shared-layer", "tensor", "direction", "pair")


def test_gradients_gather_as_coefficients_spread() -> None:
    thin, dense = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1)), Dense((drawn(4, 5), drawn(5, 5)))
    tensors = {"m.layer.0.a.weight": thin, "m.layer.0.b.bias": dense, "m.layer.1.a.weight": thin}
    for granularity in GRANULARITIES:
        table = CoefficientTable(granularity, tensors, dict.fromkeys(tensors, 0.3))  # pyright: ignore
        flat = {name: drawn(8 + i, *table.of(name).shape) for i, name in enumerate(tensors)}
        gathered = table.gather(flat)
        for key, parameter in table.parameters.items():
            for place in range(parameter.numel()):
                before = {name: table.of(name).clone() for name in tensors}
                parameter.view(-1)[place] += 1.0
                change = sum(float((flat[name] * (table.of(name) - before[name])).sum()) for name in tensors)
                parameter.view(-1)[place] -= 1.0
                assert float(gathered[key].view(-1)[place]) == pytest.approx(change, abs=1e-5)
    assert set(CoefficientTable("layer", tensors, dict.fromkeys(tensors, 0.3)).parameters) == {
        "m.layer.0@0.3", "m.layer.1@0.3",
    }  # fmt: skip


def test_tasks_share_the_number_of_a_layer() -> None:
    thin = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1))
    tensors = {"m.layer.0.a.weight": thin, "m.layer.0.b.weight": thin, "m.layer.1.a.weight": thin}
    table = CoefficientTable("shared-layer", tensors, dict.fromkeys(tensors, 0.3))
    assert table.count == 2
    table.parameters["m.layer.0@0.3"][0] = 0.5
    assert [table.of(name).tolist() for name in tensors] == [[0.5] * 3, [0.5] * 3, [pytest.approx(0.3)] * 3]


def test_tensors_of_other_scales_share_no_coefficient() -> None:
    thin = Thin(drawn(1, 7, 3), drawn(2, 3).abs(), drawn(3, 4, 3), (2, 1))
    starts = {"a.weight": 0.3, "b.weight": 0.3 + 1e-9, "c.weight": 0.3}
    table = CoefficientTable("task", dict.fromkeys(starts, thin), starts)
    assert len(table.parameters) == 2
    assert all(float(table.of(name)[0]) == pytest.approx(start, rel=1e-7) for name, start in starts.items())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.layer.11.attention.self.query.weight", "encoder.layer.11"),
        ("bert.encoder.layer.1.output.dense.bias", "bert.encoder.layer.1"),
        ("embeddings.word_embeddings.weight", "embeddings"),
        ("transformer.h.3.mlp.c_fc.weight", "transformer.h.3"),
        ("model.norm.weight", "model"),
        ("lm_head.weight", "lm_head"),
        ("0.weight", "0"),
        ("weight", "weight"),
    ],
)
def test_layers_by_name(name: str, layer: str) -> None:
    assert layer_of(name) == layer
