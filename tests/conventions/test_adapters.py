"""Files of adapters are named as what they are, wherever a model is expected; and what their settings say of a base."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.conventions.adapters import FOREIGN_ADAPTERS, foreign_adapter, quantised_base
from mergeometry.errors import MismatchError, SourceError
from tests.helpers import models

NAMES = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": "kohya",
    "lora_unet_mid_block_resnets_0_conv1.alpha": "kohya",
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.dora_scale": "kohya",
    "lora_unet_down_blocks_0_attentions_0.hada_w1_a": "LyCORIS",
    "lycoris_layers_0_self_attn_q_proj.lokr_w1": "LyCORIS",
    "lora_unet_mid_block.oft_blocks": "LyCORIS",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": "a diffusion model",
    "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight": "a diffusion model",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight": "a diffusion model",
    "transformer.single_transformer_blocks.0.attn.to_k.lora_B.weight": "a diffusion model",
    "diffusion_model.blocks.0.cross_attn.k.lora_A.weight": "a diffusion model",
    "double_blocks.0.processor.qkv_lora1.down.weight": "XLabs",
    "single_blocks.3.processor.proj_lora.up.weight": "XLabs",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": "without its settings",
    "model.layers.0.self_attn.q_proj.base_layer.weight": "adapters still in it",
    "model.layers.0.self_attn.q_proj.lora_A.default.weight": "adapters still in it",
    "model.layers.0.self_attn.q_proj.lora_a": "mlx-lm",
    "model.layers.0.self_attn.q_proj.lora_A": "without their base",
    "layers.0.attn.q_proj.lora_a.weight": "without their base",
    "prompt_embeddings": "trained prompts",
    "emb_params": "trained prompts",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_told_by_a_name(name: str) -> None:
    found = foreign_adapter(["model.norm.weight", name])
    assert found and found[0] == name and NAMES[name] in found[1].kind


def test_every_kind_has_a_name_here() -> None:
    kinds = {found[1].kind for name in NAMES if (found := foreign_adapter([name]))}
    assert kinds == {kind.kind for kind in FOREIGN_ADAPTERS}


def test_no_model_is_taken_for_an_adapter() -> None:
    plain = (
        "transformer.h.0.attn.c_attn.weight",
        "unet.conv_in.weight",
        "exploration.weight",
        "model.alpha",
        "lora.weight",
    )
    assert foreign_adapter(plain) is None


@pytest.mark.parametrize("folder", [False, True])
def test_a_lora_file_is_named_as_base_and_its_modules_as_model(folder: bool, tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1)
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    file.parent.mkdir()
    factors = {"A": torch.ones(2, 3), "B": torch.ones(3, 2)}
    tensors = {f"unet.mid.to_q.lora_{factor}.weight": tensor for factor, tensor in factors.items()}
    safetensors.torch.save_file(tensors, file)
    place = str(file.parent if folder else file)
    with pytest.raises(SourceError, match="are a LoRA of a diffusion model, not a model") as caught:
        mg.make_plan({**family, "base": place, "method": "average"})
    assert caught.value.tensor in tensors and "give it under `models`" in (caught.value.hint or "")
    with pytest.raises(MismatchError) as refused:
        mg.make_plan({**family, "models": [place], "method": "average"})
    assert any("1 of 1 modules of unet are not the base's: mid.to_q" in one for one in refused.value.mismatches)


def test_an_adapter_of_a_quantised_base_is_merged_with_a_note(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1)
    models.write_adapter(tmp_path / "a", models.random_factors(0, models.MODULES), base_name="unsloth/llama-bnb-4bit")
    plan = mg.make_plan({**family, "models": [str(tmp_path / "a")], "method": "average"})
    assert any("a: trained on a quantised base" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"base_model_name_or_path": "TheBloke/Llama-2-7B-GPTQ"}, True),
        ({"base_model_name_or_path": "model-4bit"}, True),
        ({"loftq_config": {"loftq_bits": 4}}, True),
        ({"base_model_name_or_path": "meta-llama/Llama-2-7b", "loftq_config": {}}, False),
        ({"base_model_name_or_path": "a/gptqueen"}, False),
        ({}, False),
    ],
)
def test_a_quantised_base_is_told_by_the_settings(config: dict[str, object], said: bool) -> None:
    assert (quantised_base(config) is not None) is said
