"""LARV against a slow reference, and merges whose layers have scales of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.comparison.rules import read_rules, ruled
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.errors import RecipeError
from mergeometry.linalg.layer_proxies import commutator_conflict, effective_rank
from mergeometry.linalg.recall import NOTHING
from mergeometry.plan.layer_scales import layer_scales
from mergeometry.recipe.scale import ScaleRule
from mergeometry.scaling import LAYER_RULES, Layer, Statistics
from mergeometry.scaling.layers import larv_scores
from mergeometry.sink.record import read_record
from mergeometry.values import Delta, LowRank
from tests.helpers import models


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rank_by_hand(matrix: np.ndarray) -> float:
    energies = np.linalg.svd(matrix, compute_uv=False) ** 2
    shares = energies / energies.sum()
    shares = shares[shares > 1e-13]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def conflict_by_hand(weight: np.ndarray, tau: np.ndarray) -> float:
    left, right = weight @ tau.T - tau @ weight.T, weight.T @ tau - tau.T @ weight
    return float((np.linalg.norm(left) + np.linalg.norm(right)) / (2 * np.linalg.norm(weight) * np.linalg.norm(tau)))


def scores_by_hand(contrasts: list[float], conflicts: list[float]) -> np.ndarray:
    c, depth = np.array(conflicts), np.arange(1, len(conflicts) + 1) / len(conflicts)
    return np.array(contrasts) * np.sqrt(depth) / (np.log1p(np.exp((c - c.mean()) / c.std())) + 1)


@pytest.mark.parametrize("shape", [(12, 7), (7, 12), (9, 9), (1, 5)])
@pytest.mark.parametrize("form", ["dense", "thin"])
def test_proxies_agree_with_their_formulas(shape: tuple[int, int], form: str) -> None:
    weight, delta = drawn(0, *shape), LowRank(drawn(1, shape[0], 3), drawn(2, 3, 4), drawn(3, shape[1], 4))
    tau: Delta = delta if form == "thin" else delta.dense(torch.float64)
    plain = delta.dense(torch.float64).numpy()
    assert effective_rank(NOTHING.spectrum(tau)) == pytest.approx(rank_by_hand(plain), rel=1e-9)
    assert commutator_conflict(weight, tau) == pytest.approx(conflict_by_hand(weight.numpy(), plain), rel=1e-6)
    assert (
        effective_rank(NOTHING.spectrum(LowRank.zero(*shape))) == commutator_conflict(weight, LowRank.zero(*shape)) == 0
    )


def test_what_commutes_is_in_no_conflict() -> None:
    weight = drawn(0, 6, 6)
    symmetric = weight + weight.mT
    assert commutator_conflict(symmetric, 0.5 * symmetric) < 1e-7
    assert commutator_conflict(weight, torch.eye(6, dtype=torch.float64)) == pytest.approx(
        float((weight - weight.mT).norm() / (weight.norm() * 6**0.5))
    )


def test_scores_and_tiers_by_hand() -> None:
    contrasts, conflicts = [3.0, 1.0, 2.0, 2.0, 1.5, 4.0], [0.2, 0.9, 0.4, 0.5, 0.1, 0.7]
    layers = [Layer(e, c, (n + 1) / 6) for n, (e, c) in enumerate(zip(contrasts, conflicts, strict=True))]
    expected = scores_by_hand(contrasts, conflicts)
    assert larv_scores(layers) == pytest.approx(list(expected))
    low, high = np.quantile(expected, [1 / 3, 2 / 3])
    tiers = [0.8 if score <= low else 1.0 if score <= high else 1.2 for score in expected]
    assert LAYER_RULES["larv"].formula(layers) == tiers
    assert sorted(tiers) == [0.8, 0.8, 1.0, 1.0, 1.2, 1.2]
    assert LAYER_RULES["larv"].formula(layers[:1]) == [0.8]  # one layer is the lowest third of itself


def test_tensors_outside_all_layers_keep_the_factor() -> None:
    one = Statistics((1.0,), (1.0,), 1.0, proxies=(2.0, 0.5))
    measured = {f"encoder.layer.{n}.dense.weight": one for n in range(3)}
    names = [*measured, "embeddings.word.weight", "encoder.layer.1.norm.weight", "pooler.dense.weight"]
    scales = layer_scales(LAYER_RULES["larv"], measured, names, 0.5)
    assert scales["embeddings.word.weight"] == scales["pooler.dense.weight"] == 0.5
    assert scales["encoder.layer.1.norm.weight"] == scales["encoder.layer.1.dense.weight"] == 0.5
    assert [scales[name] for name in measured] == [0.4, 0.5, 0.6]
    assert layer_scales(LAYER_RULES["larv"], {}, names) == dict.fromkeys(names, 1.0)


SHAPES = {f"layer.{n}.{part}.weight": (8, 6) for n in range(6) for part in ("dense", "out")} | {
    "embeddings.word.weight": (9, 4), "layer.2.norm.weight": (6,),
}  # fmt: skip


def scales_by_hand(family: dict[str, Any]) -> dict[str, float]:
    """Layer by layer, from the files."""
    base = models.loaded(Path(family["base"]))
    own = [models.loaded(Path(place)) for place in family["models"]]
    contrasts, conflicts = [], []
    for n in range(6):
        pairs = []
        for name in (f"layer.{n}.dense.weight", f"layer.{n}.out.weight"):
            weight = base[name].double().numpy()
            taus = [one[name].double().numpy() - weight for one in own]
            pairs.append((np.mean([rank_by_hand(weight) / rank_by_hand(tau) for tau in taus]),
                          np.mean([conflict_by_hand(weight, tau) for tau in taus])))  # fmt: skip
        contrasts.append(float(np.mean([pair[0] for pair in pairs])))
        conflicts.append(float(np.mean([pair[1] for pair in pairs])))
    scores = scores_by_hand(contrasts, conflicts)
    low, high = np.quantile(scores, [1 / 3, 2 / 3])
    tiers = [0.8 if score <= low else 1.0 if score <= high else 1.2 for score in scores]
    numbered = LayerNames(base, None)
    numbers = {name: numbered.number(name) for name in base}
    return {name: 0.5 * (1.0 if number is None else tiers[number]) for name, number in numbers.items()}


def test_a_merge_has_the_scales_of_its_layers(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, shapes=SHAPES)
    recipe = {**family, "method": "tsv_m", "scale": {"rule": "larv", "factor": 0.5}}
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    expected = scales_by_hand(family)
    assert {tensor.name: tensor.scale for tensor in run.tensors} == pytest.approx(expected)
    assert len(set(expected.values())) == 3
    rules = [{"match": name, "scale": scale} for name, scale in expected.items()]
    mg.merge({**family, "method": "tsv_m", "tensors": rules}, tmp_path / "numbers", workers=1)
    assert models.weight_hashes(tmp_path / "out") == models.weight_hashes(tmp_path / "numbers")
    assert run.scaling is not None and read_record(tmp_path / "out").scaling == run.scaling
    assert (run.scaling["rule"], run.scaling["per"], run.scaling["least"]) == ("larv", "layer", 0.4)


def test_adapters_and_models_in_memory_have_them_too(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, shapes=SHAPES)
    base, own = models.loaded(tmp_path / "base"), [models.loaded(tmp_path / f"task{t}") for t in range(3)]
    scale = {"rule": "larv", "factor": 0.5}
    found = mg.merge_state_dicts(base, own, "tsv_m", scale=scale)
    mg.merge({**family, "method": "tsv_m", "scale": scale}, tmp_path / "out", workers=1)
    written = models.loaded(tmp_path / "out")
    assert all(torch.equal(found[name], written[name]) for name in written)
    thin = models.write_family(tmp_path / "thin", adapters=3)
    run = mg.merge({**thin, "method": "iso_c", "scale": {"rule": "larv"}}, tmp_path / "thin-out", workers=1)
    assert {tensor.scale for tensor in run.tensors if tensor.scale is not None} <= {0.8, 1.0, 1.2}


@pytest.mark.parametrize("scale", [{"rule": "larv", "per": "tensor"}, {"rule": "norm_mean", "per": "layer"}])
def test_a_rule_is_given_per_what_it_is_for(tmp_path: Path, scale: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="per layer is for larv alone"):
        mg.load_recipe({**models.write_family(tmp_path), "method": "tsv_m", "scale": scale})


@pytest.mark.parametrize("shapes", [{"layer.0.bias": (6,)}, {"dense.weight": (8, 6)}])
def test_a_rule_for_layers_is_refused_where_no_matrix_lies_in_one(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]]
) -> None:
    recipe = {**models.write_family(tmp_path, shapes=shapes), "method": "average", "scale": {"rule": "larv"}}
    with pytest.raises(RecipeError, match="no merged matrix lies in a layer"):
        mg.make_plan(recipe)


def test_a_comparison_scores_it_once_per_factor() -> None:
    rules = read_rules("larv, larv(factor=0.5), norm_mean")
    assert [rule.text for rule in rules] == [
        "larv per layer", "0.5 x larv per layer", "norm_mean per model", "norm_mean per tensor",
    ]  # fmt: skip
    assert ScaleRule.model_validate({"rule": "larv"}).per == "layer"
    measured = {
        f"layer.{n}.{part}.weight": (True, Statistics((1.0,), (1.0,), 1.0, proxies=(2.0 + n, 0.5)))
        for n in range(3)
        for part in ("dense", "out")
    }
    (whole, half, *_) = ruled(
        rules, {**measured, "embeddings.word.weight": (False, Statistics((1.0,), (1.0,), 1.0))}, []
    )
    for found, factor in ((whole, 1.0), (half, 0.5)):
        assert isinstance(found.at, dict)
        assert [found.at[name] for name in measured] == [factor * tier for tier in (0.8, 0.8, 1.0, 1.0, 1.2, 1.2)]
        assert found.at["embeddings.word.weight"] == factor
