"""A written adapter loads with PEFT and adds exactly what was planned."""

import json

import pytest
import torch

from mergeometry.errors import OutputError
from mergeometry.sink import (
    AdapterModule,
    SlotWriter,
    Staging,
    adapter_config,
    adapter_tensor_names,
    adapter_tensors,
    lay_out,
)


def write_adapter(target, modules, fan_in_fan_out=False):
    generator = torch.Generator().manual_seed(0)
    factors = {
        module.name: (
            torch.randn(module.rank, module.columns, generator=generator),
            torch.randn(module.rows, module.rank, generator=generator),
        )
        for module in modules
    }
    layout = lay_out(adapter_tensors(modules, "F32"), stem="adapter_model", shard_size=1 << 62)
    config = adapter_config(modules, base_model="base", fan_in_fan_out=fan_in_fan_out)
    with Staging(target) as staging:
        staging.create(layout, "f")
        with SlotWriter(staging.folder) as writer:
            for module, pair in factors.items():
                for name, tensor in zip(adapter_tensor_names(module), pair, strict=True):
                    staging.journal(name, {"digest": writer.write(layout.slots[name], tensor)})
        staging.write_file("adapter_config.json", json.dumps(config).encode())
        staging.publish()
    return factors


def check_loads(model, target, factors, transposed):
    import warnings

    from peft import PeftModel

    before = {name: model.get_submodule(name).weight.detach().clone() for name in factors}
    untouched = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        adapted = PeftModel.from_pretrained(model, target)
    assert not any(parameter.requires_grad for parameter in adapted.parameters())
    merged = adapted.merge_and_unload()
    for name, (down, up) in factors.items():
        delta = (up @ down).t() if transposed else up @ down
        assert torch.equal(merged.get_submodule(name).weight, before[name] + delta), name
    changed = {f"{name}.weight" for name in factors}
    for name, value in merged.state_dict().items():
        assert name in changed or torch.equal(value, untouched[name])


@pytest.mark.parametrize("ranks", [(4, 4, 4), (2, 5, 3)])
def test_bert_adapter_adds_the_exact_dense_sum(tmp_path, ranks):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=12, num_attention_heads=2, intermediate_size=48
    )
    modules = [
        AdapterModule("encoder.layer.1.attention.self.query", ranks[0], 32, 32),
        AdapterModule("encoder.layer.11.attention.self.query", ranks[1], 32, 32),
        AdapterModule("encoder.layer.0.intermediate.dense", ranks[2], 48, 32),
    ]
    factors = write_adapter(tmp_path / "out", modules)
    check_loads(BertModel(config), tmp_path / "out", factors, False)


def test_transposed_layout(tmp_path):
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    modules = [AdapterModule("h.0.attn.c_attn", 3, 96, 32), AdapterModule("h.0.mlp.c_fc", 2, 128, 32)]
    factors = write_adapter(tmp_path / "out", modules, fan_in_fan_out=True)
    model = GPT2Model(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=16))
    check_loads(model, tmp_path / "out", factors, True)


def test_a_name_that_ends_another_gets_its_own_rank():
    modules = [AdapterModule("a", 2, 4, 4), AdapterModule("x.a", 3, 4, 4), AdapterModule("y.x.a", 2, 4, 4)]
    assert list(adapter_config(modules, base_model="b")["rank_pattern"].items()) == [("y.x.a", 2), ("x.a", 3), ("a", 2)]


def test_adapter_config_is_plain_where_ranks_agree():
    config = adapter_config([AdapterModule("a", 2, 4, 4), AdapterModule("b", 2, 4, 4)], base_model="b")
    assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["target_modules"]) == (
        2,
        2,
        {},
        ["a", "b"],
    )


@pytest.mark.parametrize("modules", [[], [AdapterModule("a", 0, 1, 1)], [AdapterModule("(a+)+$", 1, 1, 1)]])
def test_unusable_adapters_are_refused(modules):
    with pytest.raises(OutputError):
        adapter_config(modules, base_model="b")
