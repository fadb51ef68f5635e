"""Scaled and packed numbers are recognised by the tensors that come with them, and ordinary names are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mergeometry.conventions.quantised import FORMATS, quantisation_settings, quantised_tensor
from mergeometry.errors import SourceError
from mergeometry.sources import open_checkpoint

LAYER = "model.layers.0.mlp.down_proj"
STORED = {
    "GPTQ": {f"{LAYER}.qweight": "I32", f"{LAYER}.qzeros": "I32", f"{LAYER}.scales": "F16", f"{LAYER}.g_idx": "I32"},
    "AWQ": {f"{LAYER}.qweight": "I32", f"{LAYER}.qzeros": "I32", f"{LAYER}.scales": "F16"},
    "SVDQuant": {f"{LAYER}.qweight": "I8", f"{LAYER}.wscales": "BF16", f"{LAYER}.proj_down": "BF16"},
    "bitsandbytes 4 bit": {
        f"{LAYER}.weight": "U8", f"{LAYER}.weight.absmax": "U8", f"{LAYER}.weight.quant_map": "F32",
        f"{LAYER}.weight.nested_absmax": "F32", f"{LAYER}.weight.quant_state.bitsandbytes__nf4": "U8",
    },
    "bitsandbytes 8 bit": {f"{LAYER}.weight": "I8", f"{LAYER}.SCB": "F32", f"{LAYER}.weight_format": "U8"},
    "compressed-tensors, packed": {
        f"{LAYER}.weight_packed": "I32", f"{LAYER}.weight_scale": "BF16", f"{LAYER}.weight_shape": "I64",
    },
    "compressed-tensors, sparse": {f"{LAYER}.compressed": "F8_E4M3", f"{LAYER}.bitmask": "U8"},
    "scaled 8 bit (compressed-tensors, fbgemm, BitNet)": {
        f"{LAYER}.weight": "F8_E4M3", f"{LAYER}.weight_scale": "BF16",
    },
    "scaled fp8 in blocks (DeepSeek)": {f"{LAYER}.weight": "F8_E4M3", f"{LAYER}.weight_scale_inv": "F32"},
    "scaled fp8 of expert stacks": {"e.gate_up_proj": "F8_E4M3", "e.gate_up_proj_scale_inv": "F32"},
    "scaled fp8 (ComfyUI)": {"blocks.0.q.weight": "F8_E4M3", "blocks.0.q.scale_weight": "F32"},
    "quantised by ComfyUI": {"blocks.0.q.weight": "I8", "blocks.0.q.comfy_quant": "U8"},
    "MXFP4": {"mlp.experts.gate_up_proj_blocks": "U8", "mlp.experts.gate_up_proj_scales": "U8"},
    "quanto": {f"{LAYER}.weight._data": "I8", f"{LAYER}.weight._scale": "BF16"},
    "torchao": {f"{LAYER}._weight_qdata": "I8", f"{LAYER}._weight_scale": "BF16"},
    "HQQ": {f"{LAYER}.W_q": "U8", f"{LAYER}.scale": "F16", f"{LAYER}.zero": "F16"},
    "EETQ": {f"{LAYER}.weight": "I8", f"{LAYER}.weight_scales": "F16"},
    "AQLM": {f"{LAYER}.codes": "I16", f"{LAYER}.codebooks": "F16", f"{LAYER}.scales": "F16"},
    "QuIP#": {f"{LAYER}.Qidxs": "I64", f"{LAYER}.SU": "F16", f"{LAYER}.SV": "F16"},
    "VPTQ": {f"{LAYER}.indices": "I32", f"{LAYER}.centroids.weight": "F16"},
    "EXL2": {f"{LAYER}.q_weight": "I32", f"{LAYER}.q_scale": "I32", f"{LAYER}.q_invperm": "I16"},
    "EXL3": {f"{LAYER}.trellis": "I16", f"{LAYER}.suh": "F16", f"{LAYER}.svh": "F16"},
    "MLX": {f"{LAYER}.weight": "U32", f"{LAYER}.scales": "F16", f"{LAYER}.biases": "F16"},
}  # fmt: skip
ORDINARY = {
    "layer_norm.scale": "F32",  # T5X, OpenCLIP
    "norm.scales": "F32",
    "logit_scale": "F32",
    "encoder.layer_scale_1.lambda1": "F32",
    "mlp.router.scale": "BF16",  # Gemma 3n and its kin
    "per_expert_scales": "BF16",
    "attn.weight": "F8_E4M3",  # plain numbers in 8 bit
    "attn.weight_scale_parameter": "F32",
    "w.weight": "F32",
    "w.weight_scale": "F32",  # a learned scale of a plain weight
    "vq.codebooks": "F32",  # audio codecs
    "vq.indices": "I64",
    "down_blocks": "U8",
    "position_ids": "I64",
    "mask.zero": "F32",
    "blk.0.attn_q.weight": "F16",  # names of llama.cpp, plain numbers
    "x._scale": "F32",
}


def test_every_format_has_an_example() -> None:
    assert STORED.keys() == {form.name for form in FORMATS}
    assert all(form.hint and form.source for form in FORMATS)


@pytest.mark.parametrize("name", STORED)
def test_a_format_is_named(name: str) -> None:
    found = quantised_tensor({"model.norm.weight": "BF16", **STORED[name]})
    assert found is not None and found[1].name == name
    assert quantised_tensor(dict(list(STORED[name].items())[:1])) is None


def test_ordinary_names_are_not() -> None:
    assert quantised_tensor(ORDINARY) is None


@pytest.mark.parametrize(
    "codes", [{"scaled_fp8": "F8_E4M3"}, {"model.scaled_fp8": "F32"}, {"blk.0.ffn_up.weight": "U8"}]
)
def test_marks_of_a_whole_file(codes: dict[str, str]) -> None:
    assert quantised_tensor({**codes, "x.weight": "F16"}) is not None


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"quantization_config": {"quant_method": "mxfp4"}}, 1),
        ({"compression_config": {"format": "pack-quantized"}}, 1),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}, "vision_config": {}}, 1),
        ({"quantization_config": None, "text_config": {"quantization_config": {}}}, 0),
        ({"model_type": "bert"}, 0),
    ],
)
def test_configurations(config: dict, count: int) -> None:
    assert len(list(quantisation_settings(config))) == count


def test_a_model_without_a_configuration_is_refused_by_name(tmp_path: Path) -> None:
    tensors = {
        f"{LAYER}.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        f"{LAYER}.weight_scale_inv": torch.ones(1, 1),
        "model.norm.weight": torch.ones(4),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match="DeepSeek") as caught:
        open_checkpoint(tmp_path, "base")
    assert caught.value.tensor == f"{LAYER}.weight_scale_inv" and "dequantise" in str(caught.value.hint)
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"quantization_config": {"quant_method": "awq"}}}))
    with pytest.raises(SourceError, match=r"quantised \(awq\)"):
        open_checkpoint(tmp_path, "base")
