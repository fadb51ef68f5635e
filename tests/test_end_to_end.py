"""Real (tiny) transformers models and PEFT adapters: what is written loads, and computes what the merge says."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.recipe import load_recipe
from mergeometry.recipe.parts import OutputOptions
from mergeometry.sink import read_record
from tests.helpers import models

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

IDS = torch.arange(8).reshape(1, 8)


def bert_family(folder: Path) -> dict[str, Any]:
    """A base without a head, two fine-tunes with one, as the hub has them."""
    torch.manual_seed(0)
    base = models.tiny_bert()
    base.save_pretrained(folder / "base")
    places = []
    for number, labels in enumerate((2, 3)):
        torch.manual_seed(number + 1)
        model = models.tiny_bert("BertForSequenceClassification", num_labels=labels)
        state = {
            name: tensor + 0.05 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in base.state_dict().items()
        }
        model.bert.load_state_dict(state)
        model.save_pretrained(folder / f"task{number}")
        places.append(str(folder / f"task{number}"))
    return {"base": str(folder / "base"), "models": places, "heads": ["classifier.*"]}


@pytest.mark.parametrize("shard_size", [1_000_000, 5_000_000_000])
def test_a_merged_bert_loads(tmp_path: Path, shard_size: int) -> None:
    recipe = {**bert_family(tmp_path), "method": "dc_merge", "output": {"shard_size": shard_size}}
    run = mg.merge(recipe, tmp_path / "out", workers=1)
    merged, info = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    own = models.loaded(tmp_path / "out")
    assert all(torch.equal(tensor, own[name]) for name, tensor in merged.state_dict().items() if name in own)
    assert torch.isfinite(merged.eval()(IDS).last_hidden_state).all()
    for number, labels in enumerate((2, 3)):
        head = models.loaded(tmp_path / "out" / "heads", f"task{number}")
        stored = models.loaded(tmp_path / f"task{number}")
        assert set(head) == {"classifier.weight", "classifier.bias"}
        assert head["classifier.weight"].shape[0] == labels
        assert all(torch.equal(tensor, stored[name]) for name, tensor in head.items())
    assert read_record(tmp_path / "out") == run
    assert any("heads/task1.safetensors" in warning for warning in run.warnings)


def test_shards_load_in_transformers(tmp_path: Path) -> None:
    family = bert_family(tmp_path)
    run = mg.merge({**family, "method": "average"}, tmp_path / "one", workers=1)
    # Smaller shards than a recipe allows: a tiny model has no million bytes.
    output = OutputOptions.model_construct(shard_size=9000, dtype="base", adapter=False, digest="blake3")
    small = load_recipe({**family, "method": "average"}).model_copy(update={"output": output})
    sharded = mg.merge(small, tmp_path / "many", workers=1)
    assert (tmp_path / "many" / "model.safetensors.index.json").exists() and sharded.digest == run.digest
    one, many = (transformers.AutoModel.from_pretrained(tmp_path / name).eval()(IDS) for name in ("one", "many"))
    assert torch.equal(one.last_hidden_state, many.last_hidden_state)


def adapter_family(folder: Path, base: Any, targets: list[str], **options: Any) -> dict[str, Any]:
    base.save_pretrained(folder / "base")
    places = [
        str(models.peft_adapter(base, folder / f"task{number}", targets, number, rank=2 + number, **options))
        for number in range(3)
    ]
    return {"base": str(folder / "base"), "models": places}


def bert_adapters(folder: Path) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    base = models.tiny_bert()
    return base, adapter_family(folder, base, ["query", "value", "intermediate.dense"])


def gpt2_adapters(folder: Path) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    base = models.tiny_gpt2()
    return base, adapter_family(folder, base, ["c_attn", "c_proj"], fan_in_fan_out=True)


def output_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS)[0]


@pytest.mark.parametrize("family", [bert_adapters, gpt2_adapters])
def test_the_sum_of_adapters_is_what_peft_makes_of_them(tmp_path: Path, family: Any) -> None:
    base, recipe = family(tmp_path)
    mg.merge({**recipe, "method": "task_arithmetic"}, tmp_path / "out", workers=1)
    merged = type(base).from_pretrained(tmp_path / "out")
    stock = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    wanted = {name: tensor.clone() for name, tensor in stock.items()}
    for place in recipe["models"]:
        base.load_state_dict(stock)
        one = peft.PeftModel.from_pretrained(type(base).from_pretrained(recipe["base"]), place).merge_and_unload()
        for name, tensor in one.state_dict().items():
            wanted[name] += tensor - stock[name]
    for name, tensor in merged.state_dict().items():
        assert torch.allclose(tensor, wanted[name], atol=1e-5), name


@pytest.mark.parametrize("family", [bert_adapters, gpt2_adapters])
@pytest.mark.parametrize("method", ["average", "tsv_m", "iso_c", "iso_cts", "mda", "dc_merge"])
def test_an_adapter_as_output_is_the_dense_result(tmp_path: Path, family: Any, method: str) -> None:
    base, recipe = family(tmp_path)
    recipe = {**recipe, "method": method, "scale": -0.8}
    mg.merge(recipe, tmp_path / "dense", workers=1)
    run = mg.merge({**recipe, "output": {"adapter": True}}, tmp_path / "adapter", workers=1)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "mergeometry.json",
    ]  # fmt: skip
    dense = type(base).from_pretrained(tmp_path / "dense")
    adapted = peft.PeftModel.from_pretrained(type(base).from_pretrained(recipe["base"]), tmp_path / "adapter")
    assert torch.allclose(output_of(dense), output_of(adapted), atol=2e-5)
    assert not torch.allclose(output_of(dense), output_of(base), atol=1e-3)
    assert read_record(tmp_path / "adapter") == run


@pytest.mark.parametrize("family", [bert_adapters, gpt2_adapters])
def test_a_truncated_adapter_is_the_nearest_of_its_rank(tmp_path: Path, family: Any) -> None:
    base, recipe = family(tmp_path)
    recipe = {**recipe, "method": "task_arithmetic"}
    mg.merge(recipe, tmp_path / "dense", workers=1)
    mg.merge({**recipe, "output": {"adapter": {"rank": 3}}}, tmp_path / "adapter", workers=1)
    adapted = peft.PeftModel.from_pretrained(type(base).from_pretrained(recipe["base"]), tmp_path / "adapter")
    near = adapted.merge_and_unload().state_dict()
    stock = base.state_dict()
    checked = 0
    for name, whole in models.loaded(tmp_path / "dense").items():
        full = next((tensor for key, tensor in stock.items() if key.endswith(name)), None)
        if full is None or whole.dim() != 2 or torch.equal(whole, full):
            continue
        left, values, right = torch.linalg.svd((whole - full).double(), full_matrices=False)
        wanted = left[:, :3] * values[:3] @ right[:3]
        own = next(tensor for key, tensor in near.items() if key.endswith(name)) - full
        assert torch.allclose(own.double(), wanted, atol=1e-5), name
        checked += 1
    assert checked >= 4


def test_adapters_with_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    models.tiny_bert().save_pretrained(tmp_path / "base")
    places = []
    for number in range(2):
        model = models.tiny_bert("BertForSequenceClassification", num_labels=2 + number)
        place = models.peft_adapter(model, tmp_path / f"task{number}", ["query"], number, task_type="SEQ_CLS")
        places.append(str(place))
    recipe = {"base": str(tmp_path / "base"), "models": places, "heads": ["classifier.*"], "method": "tsv_m"}
    for output in ({"adapter": True}, {}):
        folder = tmp_path / f"out{len(output)}"
        mg.merge({**recipe, "output": output}, folder, workers=1)
        head = models.loaded(folder / "heads", "task1")
        assert {name: tensor.shape[0] for name, tensor in head.items()} == {
            "classifier.weight": 3,
            "classifier.bias": 3,
        }
    base = transformers.BertModel.from_pretrained(tmp_path / "base")
    dense = transformers.BertModel.from_pretrained(tmp_path / "out0")
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "out1")
    assert torch.allclose(output_of(dense), output_of(adapted), atol=2e-5)


def test_an_adapter_and_a_full_model(tmp_path: Path) -> None:
    base, recipe = bert_adapters(tmp_path)
    full = models.tiny_bert()
    full.load_state_dict({name: tensor + 0.01 for name, tensor in base.state_dict().items()})
    full.save_pretrained(tmp_path / "full")
    recipe = {**recipe, "models": [recipe["models"][0], str(tmp_path / "full")], "method": "task_arithmetic"}
    mg.merge(recipe, tmp_path / "out", workers=1)
    one = peft.PeftModel.from_pretrained(
        transformers.BertModel.from_pretrained(recipe["base"]), recipe["models"][0]
    ).merge_and_unload()
    own = models.loaded(tmp_path / "out")
    for name, tensor in one.state_dict().items():
        assert torch.allclose(own[name], tensor + 0.01, atol=1e-5), name


def test_the_same_weights_in_shards_are_the_same_input(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    for place in ["base", "task0", "task1"]:
        models.write_shards(tmp_path / "sharded" / place, models.loaded(tmp_path / place), 3)
    sharded = {
        "base": str(tmp_path / "sharded" / "base"),
        "models": [str(tmp_path / "sharded" / place) for place in ("task0", "task1")],
    }
    one = mg.merge({**family, "method": "tsv_m"}, tmp_path / "one", workers=1)
    many = mg.merge({**sharded, "method": "tsv_m"}, tmp_path / "many", workers=1)
    digests = [source.digest for source in one.inputs]
    assert digests == [source.digest for source in many.inputs] and len(set(digests)) == 3
    assert one.digest == many.digest
    again = mg.merge(
        {"base": family["base"], "models": [str(tmp_path / "one")], "method": "average"}, tmp_path / "next"
    )
    assert again.inputs[1].digest == one.digest


def test_the_card_and_the_record(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    run = mg.merge({**family, "method": {"name": "dc_merge", "rank": 0.5}}, tmp_path / "out", workers=1)
    assert read_record(tmp_path / "out") == run
    assert {used.name: used.parameters.get("rank") for used in run.methods} == {"dc_merge": 0.5, "average": None}
    assert [tensor.name for tensor in run.tensors] == sorted(models.SHAPES)
    assert run.totals.bytes_read == 3 * sum(tensor.nbytes for tensor in models.random_tensors(0).values())
    assert run.totals.peak_memory > 0 and run.totals.seconds > 0
    card = html.unescape((tmp_path / "out" / "README.md").read_text())
    assert all(part in card for part in ("mergeometry", "dc_merge", "task0", run.inputs[0].digest))
