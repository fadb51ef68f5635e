from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mergeometry as mg
from mergeometry.methods import registry
from mergeometry.sink.record import read_record

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{n}.{part}.weight" for n in range(3) for part in ("self_attn.q_proj", "mlp.up_proj")),
    "model.norm.weight",
]


def _state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(6, 5, generator=generator) for name in NAMES}


BASE, ONE, OTHER = (_state(seed) for seed in range(3))


def merged(method: Any, **keys: Any) -> dict[str, Tensor]:
    return mg.merge_state_dicts(BASE, {"one": ONE, "other": OTHER}, method, **keys)


def test_weights_and_scale_of_each_tensor() -> None:
    found = merged(
        "task_arithmetic",
        weights=[[0, 1], [{"match": "*mlp*", "value": 2}, {"value": 1}]],
        scale=[{"layers": [1, 3], "value": [0.5, 1]}, {"value": 1}],
    )
    for name in NAMES:
        layer = int(name.split(".")[2]) if "layers" in name else None
        first = 0.0 if layer is None else layer / 2
        second = 2.0 if "mlp" in name else 1.0
        scale = {1: 0.5, 2: 1.0}.get(layer, 1.0) if layer is not None else 1.0
        moved = first * (ONE[name] - BASE[name]) + second * (OTHER[name] - BASE[name])
        assert torch.allclose(found[name], BASE[name] + scale * moved, atol=1e-6), name


def test_a_method_parameter_over_the_layers() -> None:
    found = merged({"name": "slerp", "t": [0, 1]})
    first, last = "model.layers.0.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"
    assert torch.allclose(found[first], ONE[first], atol=1e-6)
    assert torch.allclose(found[last], OTHER[last], atol=1e-6)
    assert torch.allclose(found["model.norm.weight"], ONE["model.norm.weight"], atol=1e-6)


def test_a_parameter_that_is_a_switch() -> None:
    found = merged({"name": "average", "normalize": [{"match": "*mlp*", "value": False}, {"value": True}]})
    for name in NAMES:
        expected = ONE[name] + OTHER[name] if "mlp" in name else (ONE[name] + OTHER[name]) / 2
        assert torch.allclose(found[name], expected, atol=1e-5), name


@pytest.mark.parametrize(
    ("method", "keys", "said"),
    [
        ("average", {"weights": [[{"match": "*mpl*", "value": 1}, {"value": 2}], 1]}, "models.0.weight.0: '*mpl*'"),
        ("average", {"scale": [{"layers": [3, 4], "value": 0}, {"value": 1}]}, "scale.0: no tensor is in layers [3,"),
        ({"name": "slerp", "t": [{"match": "*mpl*", "value": 0}, {"value": 1}]}, {}, "method.t.0: '*mpl*' matches no"),
        ({"name": "slerp", "t": [{"mach": "*mlp*", "value": 0}]}, {}, "unknown key '0.mach'"),
        ({"name": "slerp", "t": [0, 1.5]}, {}, "method 'slerp': t: Input should be less than or equal to 1"),
        ("average", {"weights": [[{"match": "*mlp*", "value": 1}], 1]}, "the weight of one: no case holds for it"),
    ],
)  # fmt: skip
def test_values_that_fit_no_tensor(method: Any, keys: Any, said: str) -> None:
    with pytest.raises(mg.MergeometryError) as caught:
        merged(method, **keys)
    assert said in str(caught.value)


def test_a_gradient_needs_layers() -> None:
    states = {"one": {"w": torch.ones(2, 2)}, "other": {"w": torch.ones(2, 2)}}
    with pytest.raises(mg.MergeometryError, match=r"method\.t: depends on the layer, and no tensor"):
        mg.merge_state_dicts({"w": torch.zeros(2, 2)}, states, {"name": "slerp", "t": [0, 1]})


@pytest.mark.parametrize(
    ("name", "shared", "own"),
    [
        ("ties", {}, {"density": 0.3}),
        ("ties", {"rescale": True, "normalize": False}, {"density": 0.3}),
        ("breadcrumbs", {"density": 0.5}, {"gamma": 0.2}),
        ("breadcrumbs_ties", {}, {"density": 0.4, "gamma": 0.2}),
        ("dare", {}, {"density": 0.4}),
        ("dare_ties", {}, {"density": 0.4}),
        ("della", {}, {"density": 0.4, "epsilon": 0.1}),
        ("della_linear", {}, {"epsilon": 0.1}),
    ],
)
def test_parameters_of_one_model(name: str, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """With the same parameters for each model it is the merge by these; with others for one model it is another."""
    delta = [
        ONE["model.norm.weight"] - BASE["model.norm.weight"],
        OTHER["model.norm.weight"] - BASE["model.norm.weight"],
    ]
    kind = registry.find(name)
    usual, single = kind(**shared), kind(**shared, **own)
    assert torch.equal(usual.for_models([single, single])(delta), single(delta))
    mixed = usual.for_models([single, usual])(delta)
    assert not torch.equal(mixed, usual(delta))
    assert not torch.equal(mixed, single(delta))


def test_a_model_has_parameters_of_its_own(tmp_path: Path) -> None:
    for label, state in (("base", BASE), ("one", ONE), ("other", OTHER)):
        (tmp_path / label).mkdir()
        save_file(state, tmp_path / label / "model.safetensors")
    recipe = {
        "base": tmp_path / "base",
        "models": [
            {"path": tmp_path / "one", "density": [0.2, 1], "weight": [{"match": "*mlp*", "value": 2}, {"value": 1}]},
            {"path": tmp_path / "other"},
        ],
        "method": {"name": "ties", "density": 0.5},
    }
    record = mg.merge(recipe, output=tmp_path / "merged", workers=1)
    name = "model.layers.1.mlp.up_proj.weight"
    vectors = [ONE[name] - BASE[name], OTHER[name] - BASE[name]]
    each = [mg.methods.Ties(density=0.6), mg.methods.Ties(density=0.5)]
    expected = BASE[name] + mg.methods.Ties().for_models(each)(vectors, [2.0, 1.0])
    assert torch.allclose(load_file(tmp_path / "merged" / "model.safetensors")[name], expected, atol=1e-6)
    values = {tensor.name: tensor.values for tensor in record.tensors}
    assert values[name] == {"weight": [2.0, 1.0], "density": [0.6, 0.5]}
    assert values["model.norm.weight"] == {"weight": [1.0, 1.0], "density": [0.2, 0.5]}
    assert [(method.name, method.parameters["density"]) for method in record.methods] == [("ties", "differs")]
    assert read_record(tmp_path / "merged").tensors == record.tensors


def test_a_parameter_that_no_method_takes_per_model() -> None:
    with pytest.raises(mg.MergeometryError) as caught:
        mg.load_recipe({"base": "b", "models": [{"path": "a", "densty": 0.3}], "method": "ties"})
    assert "unknown key 'models.0.densty', did you mean 'density'?" in str(caught.value)
    with pytest.raises(mg.MergeometryError, match=r"average: no parameter may differ per model"):
        mg.load_recipe({"base": "b", "models": [{"path": "a", "density": 0.3}], "method": "average"})
