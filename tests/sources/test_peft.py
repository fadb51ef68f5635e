"""The low-rank updates that we read are those that PEFT adds when it merges."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergeometry.sources import Adapter, TensorReader, open_adapter, read_factors

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")


def bert(head: bool = False, vocabulary: int = 30) -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
        max_position_embeddings=16,
        num_labels=3,
    )
    return (transformers.BertForSequenceClassification if head else transformers.BertModel)(config)


def gpt2() -> torch.nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=12, n_layer=2, n_head=2)
    )


def llama() -> torch.nn.Module:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=30,
            hidden_size=12,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )


CASES = {
    "plain": (bert, {"target_modules": ["query", "value", "dense"], "r": 3, "lora_alpha": 7}),
    "gaussian": (bert, {"target_modules": ["query"], "r": 3, "init_lora_weights": "gaussian"}),
    "patterns": (
        bert,
        {
            "target_modules": ["query", "key", "value", "dense"],
            "r": 4,
            "lora_alpha": 6,
            "rank_pattern": {
                "layer.0.attention.self.query": 2,
                r"^encoder.layer.\d+.intermediate.dense": 5,
                r".*\.(0|1)\.attention\.self\.(key|value)": 3,
            },
            "alpha_pattern": {"query": 9, r"encoder\.layer\.[1-9]\.output\.dense": 1, "ery": 100},
        },
    ),
    "rslora": (
        bert,
        {"target_modules": ["query"], "r": 4, "use_rslora": True, "rank_pattern": {"1.attention.self.query": 2}},
    ),
    "conv1d": (gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 2, "fan_in_fan_out": True}),
    "embedding": (bert, {"target_modules": ["word_embeddings", "query"], "r": 2, "lora_alpha": 5}),
    "named embedding": (llama, {"target_modules": ["embed_tokens", "q_proj", "lm_head"], "r": 2}),
    "saved modules": (
        lambda: bert(head=True),
        {"target_modules": ["query", "dense"], "r": 2, "task_type": "SEQ_CLS"},
    ),
    "saved embedding": (llama, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"], "r": 2}),
}


def randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


def reconstructed(adapter: Adapter) -> dict[str, torch.Tensor]:
    with TensorReader() as reader:
        result = {}
        for name, delta in adapter.deltas.items():
            left, right = read_factors(reader.read, delta)
            assert left.shape == (delta.shape[0], delta.rank) and right.shape == (delta.rank, delta.shape[1])
            assert left.is_contiguous() and right.is_contiguous()
            result[name] = delta.scaling * left @ right
        return result


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_the_update_is_what_peft_merges(case: str, tmp_path: Path) -> None:
    make, settings = CASES[case]
    torch.manual_seed(0)
    model = make()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    randomise(wrapped)
    wrapped.save_pretrained(tmp_path)
    adapter = open_adapter(tmp_path, case)
    merged = wrapped.merge_and_unload().state_dict()

    updates = reconstructed(adapter)
    changed = {name for name, tensor in merged.items() if not torch.equal(tensor, base[name])}
    assert changed == updates.keys() | {name for name in adapter.replaced if name in changed}
    for name, update in updates.items():
        assert adapter.deltas[name].shape == tuple(base[name].shape)
        torch.testing.assert_close(update, merged[name] - base[name], rtol=1e-4, atol=1e-4)
    with TensorReader() as reader:
        for name, info in adapter.replaced.items():
            assert torch.equal(reader.read(info), merged[name])
        for name, info in adapter.carried.items():
            assert torch.equal(reader.read(info), base[name])
    if case.startswith("saved modules"):
        assert set(adapter.replaced) == {"classifier.weight", "classifier.bias"}
    if case == "saved embedding":
        assert set(adapter.replaced) == {"lm_head.weight", "model.embed_tokens.weight"}
    if case == "named embedding":
        assert adapter.carried


@pytest.mark.filterwarnings("ignore")
def test_a_mixed_layout_is_flipped_by_who_knows_the_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gpt2()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # `attn.c_proj` is square, so that its shape alone cannot tell; PEFT goes by the module's class.
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["c_proj"], r=2, fan_in_fan_out=False))
    randomise(wrapped)
    wrapped.peft_config["default"].fan_in_fan_out = False
    wrapped.save_pretrained(tmp_path)
    adapter = open_adapter(tmp_path, "m")
    merged = wrapped.merge_and_unload().state_dict()
    with TensorReader() as reader:
        for name, delta in adapter.deltas.items():
            assert delta.flipped().flipped() == delta
            left, right = read_factors(reader.read, delta.flipped())
            torch.testing.assert_close(delta.scaling * left @ right, merged[name] - base[name], rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_resized_embedding_is_saved_whole(tmp_path: Path) -> None:
    model = llama()
    model.resize_token_embeddings(33)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    wrapped.save_pretrained(tmp_path, save_embedding_layers=True)
    adapter = open_adapter(tmp_path, "m")
    assert adapter.replaced["model.embed_tokens.weight"].shape == (33, 12)


def test_half_precision_factors_are_read_in_single(tmp_path: Path) -> None:
    wrapped = peft.get_peft_model(bert(), peft.LoraConfig(target_modules=["query"], r=2)).to(torch.bfloat16)
    wrapped.save_pretrained(tmp_path)
    adapter = open_adapter(tmp_path, "m")
    delta = next(iter(adapter.deltas.values()))
    assert delta.left.code == "BF16"
    with TensorReader() as reader:
        assert {factor.dtype for factor in read_factors(reader.read, delta)} == {torch.float32}
