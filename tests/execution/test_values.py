"""The bytes of a merge are those of the base plus scale times what the method says, for every kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.conformance.checks import accepts
from mergeometry.conventions.kinds import is_matrix
from mergeometry.methods import registry
from mergeometry.values import Delta, LowRank
from tests.helpers import models

SCALE = 0.7
WEIGHTS = [1.0, 0.5, 2.0]
LARGE = {**models.SHAPES, "layer.2.dense.weight": (1100, 1000), "layer.2.dense.bias": (1100,)}
"""One tensor has more elements than one step of an elementwise sum."""


def folders(family: dict[str, Any]) -> list[Path]:
    return [Path(place) for place in family["models"]]


def update(place: Path, name: str, base: torch.Tensor) -> Delta:
    if (place / "model.safetensors").exists():
        own = models.loaded(place)[name]
        return own.to(base.dtype) - base
    factors = models.loaded(place, "adapter_model")
    down = factors.get(f"base_model.model.{name.removesuffix('weight')}lora_A.weight")
    up = factors.get(f"base_model.model.{name.removesuffix('weight')}lora_B.weight")
    if down is None or up is None:
        return torch.zeros_like(base) if base.dim() != 2 else LowRank.zero(*base.shape)
    return LowRank(up, torch.eye(2) * 2.0, down.mT)


def expected(family: dict[str, Any], method: str, weights: list[float], scale: float) -> models.Tensors:
    """Every tensor from the public method objects, in the precision of the computation."""
    found = {}
    for name, stored in models.loaded(Path(family["base"])).items():
        base = stored if stored.dtype == torch.float64 else stored.float()
        elementwise = not registry.find(method).matrices_only
        usual = registry.find(method).others
        law = registry.build(method if elementwise or is_matrix(name, base.shape) else usual, {})
        deltas = [update(place, name, base) for place in folders(family)]
        if all(isinstance(delta, LowRank) and delta.rank == 0 for delta in deltas):
            found[name] = base
            continue
        given = weights
        if law.weights_are_shares and not registry.find(method).weights_are_shares:
            # A tensor that `other` merges follows the matrices: weights multiply, and the mean is over the models.
            deltas = [d.scaled(w) if isinstance(d, LowRank) else d * w for d, w in zip(deltas, weights, strict=True)]
            given = [1.0] * len(weights)
        merged = law.for_tensor(0, name, [place.name for place in folders(family)])(deltas, given, base=base)
        dense = merged.dense(base.dtype) if isinstance(merged, LowRank) else merged.to(base.dtype)
        found[name] = base + scale * dense
    return found


def close(own: models.Tensors, wanted: models.Tensors) -> None:
    """As close as one rounding to the dtype of the file allows, and the order of sums in float32."""
    assert set(own) == set(wanted)
    for name, tensor in own.items():
        precision = torch.finfo(tensor.dtype).eps
        size = max(float(wanted[name].abs().max()), 1e-3)
        error = float((tensor.to(wanted[name].dtype) - wanted[name]).abs().max())
        assert error <= (precision + 2e-6) * size, (name, error)


DATA_FREE = [
    name for name in registry.names() if not (registry.find(name).needs_learning or registry.find(name).merges_by)
]


@pytest.mark.parametrize("adapters", [0, 1, 3])
@pytest.mark.parametrize("method", DATA_FREE)
def test_every_method_on_models_adapters_and_both(tmp_path: Path, method: str, adapters: int) -> None:
    count = next(count for count in (3, 2, 1) if accepts(registry.build(method, {}), count, torch.zeros(2, 2)))
    family = models.write_family(tmp_path, count=count, adapters=min(adapters, count))
    weights = WEIGHTS[:count]
    entries = [{"path": place, "weight": weight} for place, weight in zip(family["models"], weights, strict=True)]
    recipe = {**family, "models": entries, "method": method, "scale": SCALE}
    before = models.file_hashes(tmp_path)
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    close(models.loaded(tmp_path / "out"), expected(family, method, weights, SCALE))
    assert {method} <= {used.name for used in run.methods} <= {method, registry.find(method).others}
    assert models.file_hashes(tmp_path).items() >= before.items()


@pytest.mark.parametrize("adapters", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("method", ["average", "ties", "iso_c", "dc_merge"])
def test_every_dtype(tmp_path: Path, method: str, dtype: torch.dtype, adapters: int) -> None:
    family = models.write_family(tmp_path, dtype=dtype, adapters=adapters)
    mg.merge({**family, "method": method, "scale": SCALE}, tmp_path / "out", workers=1)
    own = models.loaded(tmp_path / "out")
    assert {tensor.dtype for tensor in own.values()} == {dtype}
    close(own, expected(family, method, [1.0] * 3, SCALE))


def test_sums_in_pieces_are_whole(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2, shapes=LARGE)
    for method in ("average", "task_arithmetic"):
        mg.merge({**family, "method": method}, tmp_path / method, workers=1)
        close(models.loaded(tmp_path / method), expected(family, method, [1.0] * 2, 1.0))


@pytest.mark.parametrize("adapters", [0, 1])
def test_a_table_merged_a_few_rows_at_a_time_is_whole(tmp_path: Path, adapters: int) -> None:
    table = {**models.SHAPES, "embeddings.word_embeddings.weight": (1100, 1000)}
    family = models.write_family(tmp_path, count=3, shapes=table, adapters=adapters)
    for place in folders(family)[: 3 - adapters]:
        weights = models.loaded(place)
        # Rows that this model leaves alone, within a step and across the first step's end.
        own = weights["embeddings.word_embeddings.weight"]
        own[100:900] = models.loaded(tmp_path / "base")["embeddings.word_embeddings.weight"][100:900]
        models.write_model(place, weights)
    mg.merge({**family, "method": "rows", "scale": SCALE}, tmp_path / "out", workers=1)
    close(models.loaded(tmp_path / "out"), expected(family, "rows", [1.0] * 3, SCALE))


def test_a_scale_of_nothing_gives_the_base(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    mg.merge({**family, "method": "tsv_m", "scale": 0.0}, tmp_path / "out", workers=1)
    assert all(
        torch.equal(tensor, models.loaded(tmp_path / "base")[name])
        for name, tensor in models.loaded(tmp_path / "out").items()
    )


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("method", ["average", "tsv_m"])
def test_another_dtype_of_output_and_of_one_model(tmp_path: Path, method: str, dtype: str) -> None:
    family = models.write_family(tmp_path)
    base = models.loaded(tmp_path / "base")
    for place in [tmp_path / "base", *folders(family)]:
        models.write_model(place, {**models.loaded(place), "position_ids": torch.arange(4)})
    models.write_model(tmp_path / "base", {**base, "position_ids": torch.arange(4)}, {"torch_dtype": "float32"})
    half = {name: t.bfloat16() if t.is_floating_point() else t for name, t in models.loaded(tmp_path / "task1").items()}
    models.write_model(tmp_path / "task1", half)
    mg.merge({**family, "method": method, "output": {"dtype": dtype}}, tmp_path / "out", workers=1)
    own = models.loaded(tmp_path / "out")
    assert torch.equal(own.pop("position_ids"), torch.arange(4))
    assert {tensor.dtype for tensor in own.values()} == {getattr(torch, dtype)}
    wanted = expected({**family, "base": str(models.write_model(tmp_path / "plain", base))}, method, [1.0] * 3, 1.0)
    close(own, wanted)
    assert f'"torch_dtype": "{dtype}"' in (tmp_path / "out" / "config.json").read_text()


def test_a_wider_model_is_used_in_full(tmp_path: Path) -> None:
    """Half-precision base, double-precision result of a difference that half precision does not hold."""
    models.write_model(tmp_path / "base", {"a.weight": torch.ones(4, 4, dtype=torch.float16)})
    models.write_model(tmp_path / "task", {"a.weight": torch.full((4, 4), 1.0 + 2**-20)})
    recipe = {"base": str(tmp_path / "base"), "models": [str(tmp_path / "task")], "method": "average"}
    mg.merge({**recipe, "output": {"dtype": "float32"}}, tmp_path / "out", workers=1)
    assert torch.equal(models.loaded(tmp_path / "out")["a.weight"], torch.full((4, 4), 1.0 + 2**-20))


def test_modules_to_save_merge_as_the_models_they_are(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=3, adapters=1)
    base = models.loaded(tmp_path / "base")
    own = base["embed.weight"] + 1
    models.write_adapter(tmp_path / "task2", models.random_factors(2, models.MODULES), saved={"embed.weight": own})
    mg.merge({**family, "method": "average"}, tmp_path / "out", workers=1)
    others = [models.loaded(tmp_path / f"task{number}")["embed.weight"] for number in (0, 1)]
    wanted = torch.stack([*others, own]).mean(dim=0)
    assert torch.allclose(models.loaded(tmp_path / "out")["embed.weight"], wanted, atol=1e-6)


def test_a_rule_of_scale_and_method(tmp_path: Path) -> None:
    family = models.write_family(tmp_path)
    rules = [{"match": "embed*", "method": "ties"}, {"match": "layer.0.*", "scale": 0.25}]
    mg.merge({**family, "method": "tsv_m", "tensors": rules}, tmp_path / "out", workers=1)
    own = models.loaded(tmp_path / "out")
    assert torch.allclose(own["embed.weight"], expected(family, "ties", [1.0] * 3, 1.0)["embed.weight"], atol=1e-6)
    for name in ("layer.0.dense.weight", "layer.0.dense.bias"):
        assert torch.allclose(own[name], expected(family, "tsv_m", [1.0] * 3, 0.25)[name], atol=1e-5)


@pytest.mark.parametrize("method", [{"name": "mda", "simplex": "neurons"}, {"name": "dc_merge"}, {"name": "iso_c"}])
def test_transposed_layouts_merge_as_what_they_stand_for(tmp_path: Path, method: dict[str, Any]) -> None:
    names = ["h.0.attn.c_attn.weight", "h.0.mlp.c_proj.weight", "h.0.ln_1.weight"]
    shapes = {names[0]: (6, 18), names[1]: (24, 6), names[2]: (6,)}
    for flipped in (False, True):
        base = models.random_tensors(0, shapes=shapes)
        for number, tensors in enumerate([base, models.tuned(base, 1), models.tuned(base, 2)]):
            turned = {name: tensor.mT if flipped and tensor.dim() == 2 else tensor for name, tensor in tensors.items()}
            config = {"model_type": "linear" if flipped else "gpt2"}
            models.write_model(tmp_path / f"{flipped}{number}", turned, config)
        family = {"base": str(tmp_path / f"{flipped}0"), "models": [str(tmp_path / f"{flipped}{n}") for n in (1, 2)]}
        mg.merge({**family, "method": method}, tmp_path / f"out{flipped}", workers=1)
    conv, linear = models.loaded(tmp_path / "outFalse"), models.loaded(tmp_path / "outTrue")
    assert torch.equal(conv[names[2]], linear[names[2]])
    for name in names[:2]:
        assert torch.equal(conv[name], linear[name].mT)


def test_tensors_of_no_entries_and_of_one(tmp_path: Path) -> None:
    shapes = {"none.weight": (0, 4), "one.weight": (1, 1), "row.weight": (1, 5), "column.weight": (5, 1), "flat": (0,)}
    family = models.write_family(tmp_path, count=2, shapes=shapes)
    for method in DATA_FREE:
        count = 2 if accepts(registry.build(method, {}), 2, torch.zeros(2, 2)) else 1
        mg.merge({**family, "models": family["models"][:count], "method": method}, tmp_path / method, workers=1)
        own = models.loaded(tmp_path / method)
        assert {name: tuple(tensor.shape) for name, tensor in own.items()} == shapes


def test_truth_values_and_integers_are_copied_and_must_be_equal(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    extra = {"position_ids": torch.arange(5).reshape(1, 5), "mask": torch.tensor([True, False])}
    for place in [tmp_path / "base", *folders(family)]:
        models.write_model(place, {**models.loaded(place), **extra})
    mg.merge({**family, "method": "ties"}, tmp_path / "out", workers=1)
    own = models.loaded(tmp_path / "out")
    assert all(torch.equal(own[name], tensor) for name, tensor in extra.items())
    models.write_model(tmp_path / "task1", {**models.loaded(tmp_path / "task1"), "mask": torch.tensor([True, True])})
    with pytest.raises(mg.MergeometryError, match="differs") as caught:
        mg.merge({**family, "method": "ties"}, tmp_path / "other", workers=1)
    assert "task1: 'mask' (BOOL) differs" in str(caught.value)
    assert not (tmp_path / "other").exists()
