"""Whatever an adapter consists of, the merged model computes what the live PEFT model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mergeometry.errors import MismatchError, SourceError
from mergeometry.sources import open_adapter
from tests.helpers import models
from tests.helpers.peft_models import folded, live, merged, outputs, saved_adapter, tiny_llama

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")


def lora(*targets: str, **changes: Any) -> Any:
    return peft.LoraConfig(**{"r": 2, "lora_alpha": 3, "target_modules": list(targets), **changes})


def mixture() -> Any:
    config = transformers.Qwen2MoeConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, moe_intermediate_size=12, num_experts=4,
        shared_expert_intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        num_experts_per_tok=2, decoder_sparse_step=1,
    )  # fmt: skip
    return transformers.Qwen2MoeForCausalLM(config).eval()


def convolutions() -> Any:
    """Kernels of 7 x 7, 3 x 3 and 1 x 1."""
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck", num_labels=3
    )
    return transformers.ResNetForImageClassification(config).eval()


def roberta() -> Any:
    config = transformers.RobertaConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=16, pad_token_id=0,
    )  # fmt: skip
    return transformers.RobertaForSequenceClassification(config).eval()


def gpt_oss() -> Any:
    """Experts of (experts, inputs, outputs), whose second matrix is square, so that its shape tells nothing."""
    config = transformers.GptOssConfig(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    return transformers.GptOssForCausalLM(config).eval()


def seeded(make: Any) -> Any:
    torch.manual_seed(0)
    return make()


def stored(model: Any, folder: Path, stacked: bool) -> None:
    """Save a model, with the experts as they are in memory where ``stacked``; transformers would take them apart."""
    model.save_pretrained(folder)
    if stacked:
        models.write_model(folder, model.state_dict())


IMAGE = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)

CASES: dict[str, tuple[Any, Any]] = {
    "lora_bias": (models.tiny_bert, lambda: lora("query", "dense", lora_bias=True)),
    "bias all": (models.tiny_bert, lambda: lora("query", bias="all")),
    "bias lora_only": (models.tiny_bert, lambda: lora("query", "dense", bias="lora_only")),
    "tokens": (tiny_llama, lambda: lora("q_proj", trainable_token_indices=[4, 1])),
    "tokens by module": (
        tiny_llama,
        lambda: lora("q_proj", trainable_token_indices={"embed_tokens": [7], "lm_head": [2, 1]}),
    ),
    "tokens alone": (
        tiny_llama,
        lambda: peft.TrainableTokensConfig(token_indices=[9, 2], target_modules=["embed_tokens"]),
    ),
    "norms": (models.tiny_bert, lambda: peft.LNTuningConfig(target_modules=["LayerNorm"])),
    "convolution": (convolutions, lambda: lora("convolution", modules_to_save=["classifier"])),
    "dora": (models.tiny_bert, lambda: lora("query", "dense", "word_embeddings", use_dora=True, use_rslora=True)),
    "dora of Conv1D": (models.tiny_gpt2, lambda: lora("c_attn", "c_proj", "c_fc", use_dora=True, fan_in_fan_out=True)),
    "dora of a convolution": (convolutions, lambda: lora("convolution", use_dora=True)),
    "experts": (
        mixture,
        lambda: lora(
            "q_proj",
            target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"],
            rank_pattern={"experts.down_proj": 3},
        ),
    ),
    "square experts": (
        gpt_oss,
        lambda: lora("q_proj", target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
    ),
    "a nested head and biases": (roberta, lambda: lora("query", task_type="SEQ_CLS", bias="all")),
    "some layers, a negative alpha and modules within modules": (
        tiny_llama,
        lambda: peft.LoraConfig(
            r=2,
            lora_alpha=-2,
            target_modules=["q_proj"],
            layers_to_transform=[1],
            init_lora_weights="orthogonal",
            modules_to_save=["input_layernorm", "mlp"],
        ),
    ),
    "one of the experts' parameters": (mixture, lambda: lora("q_proj", target_parameters=["experts.down_proj"])),
}


@pytest.mark.parametrize("case", CASES)
def test_one_adapter_gives_its_live_model_and_two_their_mean(case: str, tmp_path: Path) -> None:
    make, config = CASES[case]
    model = seeded(make)
    stored(model, tmp_path / "base", stacked=make is mixture)
    adapters = [saved_adapter(model, tmp_path / f"a{seed}", config(), seed) for seed in (1, 2)]
    inputs = [IMAGE] if make is convolutions else []
    one = merged(tmp_path / "base", adapters[:1], tmp_path / "one")
    expected = outputs(live(model, adapters[0]), *inputs)
    assert not torch.allclose(expected, outputs(model, *inputs), atol=1e-3)
    torch.testing.assert_close(outputs(one, *inputs), expected, rtol=1e-4, atol=1e-5)
    two = merged(tmp_path / "base", adapters, tmp_path / "two").state_dict()
    first, second = (folded(model, adapter) for adapter in adapters)
    for name, weight in two.items():
        mean = (first[name] + second[name]) / 2
        torch.testing.assert_close(weight, mean.to(weight.dtype), rtol=1e-4, atol=1e-5)


def test_an_adapter_of_multihead_attention_is_refused_by_name(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2), torch.nn.Linear(8, 8))
    adapter = saved_adapter(model, tmp_path / "a", lora("0"))
    with pytest.raises(SourceError, match=r"nn\.MultiheadAttention") as caught:
        open_adapter(adapter, "a")
    assert "merge_and_unload" in (caught.value.hint or "")


@pytest.mark.parametrize("make", [mixture, gpt_oss])
def test_each_expert_that_adapters_change_is_merged_by_the_method_itself(make: Any, tmp_path: Path) -> None:
    model = seeded(make)
    stored(model, tmp_path / "base", stacked=True)
    config = lora("q_proj", target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
    adapters, whole = [], []
    for seed in (1, 2):
        adapters.append(saved_adapter(model, tmp_path / f"a{seed}", config, seed))
        models.write_model(tmp_path / f"w{seed}", folded(model, adapters[-1]), model.config.to_dict())
        whole.append(tmp_path / f"w{seed}")
    one = merged(tmp_path / "base", adapters, tmp_path / "one", method="tsv_m").state_dict()
    other = merged(tmp_path / "base", whole, tmp_path / "other", method="tsv_m").state_dict()
    name = "model.layers.0.mlp.experts.gate_up_proj"
    mean = (folded(model, adapters[0])[name] + folded(model, adapters[1])[name]) / 2
    assert not torch.allclose(one[name], mean, atol=1e-3)
    torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["ties", "dare", "tsv_m"])
def test_other_methods_take_formed_updates_as_those_of_full_models(method: str, tmp_path: Path) -> None:
    model = seeded(models.tiny_bert)
    model.save_pretrained(tmp_path / "base")
    adapters, whole = [], []
    for seed in (1, 2):
        adapters.append(saved_adapter(model, tmp_path / f"a{seed}", lora("query", use_dora=True, bias="all"), seed))
        live(model, adapters[-1]).merge_and_unload().save_pretrained(tmp_path / f"w{seed}")
        whole.append(tmp_path / f"w{seed}")
    names = [{"path": str(adapter), "name": f"m{place}"} for place, adapter in enumerate(adapters)]
    full = [{"path": str(folder), "name": f"m{place}"} for place, folder in enumerate(whole)]
    one = merged(tmp_path / "base", [], tmp_path / "out", method=method, models=names)
    other = merged(tmp_path / "base", [], tmp_path / "whole", method=method, models=full)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], weight, rtol=1e-4, atol=1e-4)


def test_a_resized_vocabulary_is_read_under_each_of_its_names(tmp_path: Path) -> None:
    model = tiny_llama()
    model.resize_token_embeddings(33)
    model.save_pretrained(tmp_path / "base")
    config = lora("q_proj", modules_to_save=["embed_tokens", "lm_head"])
    adapter = saved_adapter(model, tmp_path / "a", config, save_embedding_layers=True)
    names = {name.rpartition("embed_tokens.")[2] for name in stored_names(adapter) if "embed_tokens" in name}
    assert names == {"weight", "modules_to_save.weight", "original_module.weight"}
    one = merged(tmp_path / "base", [adapter], tmp_path / "one")
    torch.testing.assert_close(outputs(one), outputs(live(model, adapter)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("base", "copy"), [("float32", "float16"), ("float16", "float32"), ("bfloat16", "float16")])
def test_a_copy_of_the_base_in_another_precision_is_the_base(base: str, copy: str, tmp_path: Path) -> None:
    model = tiny_llama().to(getattr(torch, base))
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(
        model.to(getattr(torch, copy)), tmp_path / "a", lora("q_proj", "embed_tokens"), save_embedding_layers=True
    )
    assert any(name.endswith("base_layer.weight") for name in stored_names(adapter))
    assert merged(tmp_path / "base", [adapter], tmp_path / "one").dtype == getattr(torch, base)
    changed = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    changed[f"{EMBEDDING}.base_layer.weight"] += 0.25
    safetensors.torch.save_file(changed, adapter / "adapter_model.safetensors")
    with pytest.raises(MismatchError, match="a tensor that is not merged differs"):
        merged(tmp_path / "base", [adapter], tmp_path / "two")


def test_a_saved_module_takes_the_precision_of_the_base(tmp_path: Path) -> None:
    model = tiny_llama().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(model.float(), tmp_path / "a", lora("q_proj", modules_to_save=["lm_head"]))
    model.to(torch.bfloat16)
    assert {info.code for info in open_adapter(adapter, "a").replaced.values()} == {"F32"}
    one = merged(tmp_path / "base", [adapter], tmp_path / "one")
    expected = live(model, adapter).base_model.model.lm_head.modules_to_save["default"].weight
    assert torch.equal(one.lm_head.weight, expected.to(torch.bfloat16))


def test_a_bias_that_the_base_has_no_place_for_is_named(tmp_path: Path) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(model, tmp_path / "a", lora("q_proj", lora_bias=True))
    with pytest.raises(MismatchError, match=r"trains a bias of .*, and the base's layer has none"):
        merged(tmp_path / "base", [adapter], tmp_path / "one")


@pytest.mark.parametrize(
    "targets", [["mlp.experts.down_proj"], ["down_proj", "gate_up_proj"]], ids=["one", "bare names"]
)
def test_an_adapter_of_stacked_experts_merges_into_a_base_that_stores_them_one_by_one(
    tmp_path: Path, targets: list[str]
) -> None:
    model = seeded(mixture)
    model.save_pretrained(tmp_path / "base")
    assert any(".experts.0." in name for name in models.loaded(tmp_path / "base"))
    adapter = saved_adapter(model, tmp_path / "a", lora("q_proj", target_parameters=targets))
    one = merged(tmp_path / "base", [adapter], tmp_path / "one")
    torch.testing.assert_close(outputs(one), outputs(live(model, adapter)), rtol=1e-4, atol=1e-5)


def test_stacked_experts_that_the_base_lacks_are_named(tmp_path: Path) -> None:
    model = seeded(mixture)
    model.save_pretrained(tmp_path / "base")
    adapter = saved_adapter(model, tmp_path / "a", lora("q_proj", target_parameters=["mlp.experts.down_proj"]))
    weights = models.loaded(tmp_path / "base")
    models.write_model(
        tmp_path / "base", {name: weight for name, weight in weights.items() if ".experts.0." not in name}
    )
    with pytest.raises(MismatchError, match=r"changes the stacked experts .*merge_and_unload"):
        merged(tmp_path / "base", [adapter], tmp_path / "one")


def test_stacked_experts_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    model = mixture()
    config = lora("q_proj", target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
    adapter = saved_adapter(model, tmp_path / "a", config)
    square = {name: tensor for name, tensor in model.state_dict().items() if "experts." not in name}
    for name in ("gate_up_proj", "down_proj"):
        square[f"model.layers.0.mlp.experts.{name}"] = torch.zeros(4, 16, 16)
    models.write_model(tmp_path / "base", square)
    with pytest.raises(MismatchError, match=r"no pair of factors fits .*experts.gate_up_proj' of shape \[4, 16, 16\]"):
        merged(tmp_path / "base", [adapter], tmp_path / "one")


EMBEDDING = "base_model.model.model.embed_tokens"


def stored_names(adapter: Path) -> list[str]:
    return list(safetensors.torch.load_file(adapter / "adapter_model.safetensors"))
