"""Each row of the table of stacked experts, on a live model of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from mergeometry.conventions.experts import Stack, stacked
from tests.helpers.experts import SIZES

MIXTURE = {**SIZES, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def found(shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None = None) -> dict[str, Stack]:
    stacks = {name: stacked(name, shapes, config) for name in shapes}
    return {name: stack for name, stack in stacks.items() if stack is not None}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("hidden", "inner"), [(16, 12), (16, 8), (8, 16), (16, 16)])
def test_the_shapes_of_both_maps_say_which_way_the_matrices_lie(transposed: bool, hidden: int, inner: int) -> None:
    up, down = (
        ((4, hidden, 2 * inner), (4, inner, hidden)) if transposed else ((4, 2 * inner, hidden), (4, hidden, inner))
    )
    stacks = found({"layers.0.mlp.experts.gate_up_proj": up, "layers.0.mlp.experts.down_proj": down})
    whole, halves = Stack(4, up[1], up[2], transposed), Stack(4, inner, hidden, False, ("gate", "up"))
    assert stacks["layers.0.mlp.experts.gate_up_proj"] == (whole if transposed else halves)
    assert stacks["layers.0.mlp.experts.down_proj"] == Stack(4, *down[1:], transposed)


def test_the_gate_is_the_first_half_of_the_rows() -> None:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(**MIXTURE)
    model: Any = transformers.MixtralForCausalLM(config)
    layer = model.model.layers[0].mlp.experts
    inputs, expert = torch.randn(3, 16), 2
    stack = found({"x.experts.gate_up_proj": layer.gate_up_proj.shape, "x.experts.down_proj": layer.down_proj.shape})
    rows = layer.gate_up_proj[expert].split(stack["x.experts.gate_up_proj"].rows)
    with torch.no_grad():
        wanted = layer(inputs, torch.full((3, 1), expert), torch.ones(3, 1))
        hidden = torch.nn.functional.silu(inputs @ rows[0].mT) * (inputs @ rows[1].mT)
        assert torch.allclose(hidden @ layer.down_proj[expert].mT, wanted, atol=1e-6)


def test_llama4_and_gpt_oss_store_inputs_first() -> None:
    llama = transformers.Llama4TextConfig(**{**MIXTURE, "intermediate_size_mlp": 12, "interleave_moe_layer_step": 1})
    stacks = found(shapes_of(transformers.Llama4ForCausalLM(llama)))
    assert set(stacks.values()) == {Stack(4, 16, 24, True), Stack(4, 12, 16, True)}
    gpt = transformers.GptOssConfig(**MIXTURE)
    shapes = shapes_of(transformers.GptOssForCausalLM(gpt))
    stacks = found(shapes)
    assert set(stacks.values()) == {Stack(4, 16, 24, True), Stack(4, 12, 16, True)}
    # The biases of all experts are a 2-D tensor, but no matrix.
    assert "model.layers.0.mlp.experts.gate_up_proj_bias" in shapes.keys() - stacks.keys()


def test_granite_writes_its_experts_under_other_names(tmp_path: Any) -> None:
    import safetensors.torch

    config = transformers.GraniteMoeConfig(**MIXTURE)
    model = transformers.GraniteMoeForCausalLM(config)
    model.save_pretrained(tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    stacks = found({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    assert {name.split(".", 3)[3] for name in stacks} == {
        "block_sparse_moe.input_linear.weight",
        "block_sparse_moe.output_linear.weight",
    }
    assert set(stacks.values()) == {Stack(4, 12, 16, False, ("gate", "up")), Stack(4, 16, 12, False)}


def test_jetmoe_has_experts_in_its_attention_too() -> None:
    config = transformers.JetMoeConfig(**{**MIXTURE, "kv_channels": 8})
    stacks = found(shapes_of(transformers.JetMoeForCausalLM(config)))
    kinds = {name.split(".", 3)[3]: stack for name, stack in stacks.items()}
    assert kinds["mlp.input_linear.weight"].parts == ("gate", "up")
    assert kinds["self_attention.experts.input_linear.weight"] == Stack(4, 8, 16, False)
    assert len(kinds) == 4


def test_experts_without_a_gate_are_one_matrix_each() -> None:
    up, down = (4, 12, 16), (4, 16, 12)
    plain = found({"mixer.experts.up_proj": up, "mixer.experts.down_proj": down})
    assert set(plain.values()) == {Stack(4, 12, 16, False), Stack(4, 16, 12, False)}
    turned = found({"mixer.experts.gate_and_up_projs": (4, 16, 12), "mixer.experts.down_projs": (4, 12, 16)})
    assert set(turned.values()) == {Stack(4, 16, 12, True), Stack(4, 12, 16, True)}


def test_files_of_aria_and_inkling() -> None:
    aria = found({"layers.0.mlp.experts.fc1.weight": (4, 16, 24), "layers.0.mlp.experts.fc2.weight": (4, 12, 16)})
    assert set(aria.values()) == {Stack(4, 16, 24, True), Stack(4, 12, 16, True)}
    # The rows of gate and up alternate, so no half is contiguous.
    inkling = found({"layers.0.mlp.experts.w13_weight": (4, 24, 16), "layers.0.mlp.experts.w2_weight": (4, 16, 12)})
    assert set(inkling.values()) == {Stack(4, 24, 16, False), Stack(4, 16, 12, False)}


def test_dbrx_says_in_its_configuration_how_many_experts_a_matrix_holds() -> None:
    config = transformers.DbrxConfig(
        d_model=16, n_heads=2, n_layers=1, vocab_size=32, max_seq_len=32,
        attn_config={"kv_n_heads": 1, "rope_theta": 1e4},
        ffn_config={"ffn_hidden_size": 12, "moe_num_experts": 4, "moe_top_k": 2},
    )  # fmt: skip
    shapes = shapes_of(transformers.DbrxForCausalLM(config))
    stacks = {name.rsplit(".", 1)[1]: stack for name, stack in found(shapes, config.to_dict()).items()}
    assert stacks == {"w1": Stack(4, 12, 16, False), "v1": Stack(4, 12, 16, False), "w2": Stack(4, 12, 16, True)}
    assert not found(shapes)


def test_what_fits_no_row_is_left_alone() -> None:
    assert not found({"experts.gate_up_proj": (4, 24, 16)})
    assert not found({"x.experts.gate_up_proj": (4, 24, 16), "x.experts.down_proj": (4, 16, 13)})
    assert not found({"x.experts.gate_up_proj": (4, 24, 16), "x.experts.down_proj": (5, 16, 12)})
    assert not found({"conv.weight": (4, 24, 16), "x.experts.up_proj": (0, 3, 2), "x.experts.down_proj": (0, 2, 3)})
