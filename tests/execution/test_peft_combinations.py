"""PEFT's `add_weighted_adapter` beside ours, both held against the live models' weights: where it is right we agree."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import mergeometry as mg
from tests.helpers.peft_models import folded, saved_adapter, tiny_llama

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")

Weights = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = tiny_llama(attention_bias=True)
    place = tmp_path_factory.mktemp("base")
    model.save_pretrained(place)
    return model, place


def config(**changes: Any) -> Any:
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], **changes})


def update(model: Any, weights: Weights) -> dict[str, Tensor]:
    return {name: weights[name].double() - before.double() for name, before in model.state_dict().items()}


def distance(one: Weights, other: Weights) -> float:
    """The relative distance of two updates."""
    apart = sum(float((one[name] - other[name]).square().sum()) for name in other)
    return (apart / sum(float(each.square().sum()) for each in other.values())) ** 0.5


def by_peft(model: Any, adapters: list[Path], weights: list[float], kind: str, **given: Any) -> dict[str, Tensor]:
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(adapters[0]), adapter_name="0")
    for number, adapter in enumerate(adapters[1:], 1):
        loaded.load_adapter(str(adapter), adapter_name=str(number))
    loaded.add_weighted_adapter(list(loaded.peft_config), weights, "new", combination_type=kind, **given)
    loaded.set_adapter("new")
    return update(model, loaded.merge_and_unload().state_dict())


def by_us(
    model: Any, base: Path, adapters: list[Path], weights: list[float], place: Path, **recipe: Any
) -> dict[str, Tensor]:
    models = [{"path": str(path), "weight": weight} for path, weight in zip(adapters, weights, strict=True)]
    mg.merge({"base": str(base), "models": models, "method": "task_arithmetic", **recipe}, place, workers=1)
    return update(model, folded(model, place))


@pytest.mark.parametrize(
    ("kind", "given", "method", "rank"),
    [
        ("cat", {}, "task_arithmetic", None),
        ("svd", {"svd_rank": 3}, "task_arithmetic", 3),
        ("ties_svd", {"svd_rank": 5, "density": 0.4}, {"name": "ties", "density": 0.4}, 5),
        ("magnitude_prune_svd", {"svd_rank": 5, "density": 0.4}, {"name": "magnitude_prune", "density": 0.4}, 5),
        ("dare_linear_svd", {"svd_rank": 5, "density": 1.0}, {"name": "dare", "density": 1.0}, 5),
        ("dare_ties_svd", {"svd_rank": 5, "density": 1.0}, {"name": "dare_ties", "density": 1.0}, 5),
    ],
)
def test_a_combination_that_is_right_is_ours(
    kind: str, given: dict[str, Any], method: Any, rank: int | None, model: tuple[Any, Path], tmp_path: Path
) -> None:
    live, base = model
    adapters = [saved_adapter(live, tmp_path / str(seed), config(r=rank_), seed) for seed, rank_ in ((1, 4), (2, 3))]
    weights = [1.0, 1.0] if "ties" in kind else [0.7, -0.4]
    output = {"adapter": True if rank is None else {"rank": rank}}
    theirs = by_peft(live, adapters, weights, kind, **given)
    ours = by_us(live, base, adapters, weights, tmp_path / "out", method=method, output=output)
    assert distance(theirs, ours) < 1e-5


@pytest.mark.parametrize(
    ("kind", "changes", "off"),
    [
        ("linear", {}, 0.5),
        ("cat", {"use_rslora": True}, 0.5),
        ("svd", {"use_rslora": True}, 0.5),
        ("cat", {"lora_bias": True}, 0.3),
        ("svd", {"use_dora": True}, 0.5),
        ("linear", {"alpha_pattern": {"q_proj": 1}}, 0.5),
    ],
)
def test_a_combination_that_is_wrong_without_a_word_is_right_here(
    kind: str, changes: dict[str, Any], off: float, model: tuple[Any, Path], tmp_path: Path
) -> None:
    live, base = model
    adapters = [saved_adapter(live, tmp_path / str(seed), config(**changes), seed) for seed in (1, 2)]
    weights = [0.7, -0.4]
    updates = [update(live, folded(live, adapter)) for adapter in adapters]
    truth = {name: weights[0] * updates[0][name] + weights[1] * updates[1][name] for name in updates[0]}
    svd = {"svd_rank": 8} if kind == "svd" else {}
    assert distance(by_peft(live, adapters, weights, kind, **svd), truth) > off
    output = {"adapter": {"rank": 16} if "use_dora" in changes else True}
    assert distance(by_us(live, base, adapters, weights, tmp_path / "out", output=output), truth) < 1e-5


def test_ranks_that_differ_by_pattern_are_reloaded(model: tuple[Any, Path], tmp_path: Path) -> None:
    live, base = model
    changes = [{"rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 7}, "alpha_pattern": {"q_proj": 5}}, {}]
    adapters = [
        saved_adapter(live, tmp_path / str(seed), config(use_rslora=seed == 2, **changes[seed - 1]), seed)
        for seed in (1, 2)
    ]
    updates = [update(live, folded(live, adapter)) for adapter in adapters]
    truth = {name: updates[0][name] - 0.5 * updates[1][name] for name in updates[0]}
    ours = by_us(live, base, adapters, [1.0, -0.5], tmp_path / "out", output={"adapter": True})
    assert distance(ours, truth) < 1e-5
    again = by_us(live, base, [tmp_path / "out"], [1.0], tmp_path / "again", output={"adapter": True})
    assert distance(again, truth) < 1e-5
