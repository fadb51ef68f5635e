"""A residual of each architecture gives back its expert, but for the tensors that are named here and by the plan."""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from tests.helpers.tiny import moved, tiny, tokens

pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")

LEFT_OUT: dict[str, tuple[str, ...]] = {
    # Output layers with a bias that share the table: PEFT would forget the bias.
    "bert": ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"),
    "roberta": ("roberta.embeddings.word_embeddings.weight", "lm_head.bias"),
    "distilbert": ("distilbert.embeddings.word_embeddings.weight", "vocab_projector.bias"),
    "llama": (),
    "llama-tied": (),
    "gpt2": (),
    "t5": (),
    "segformer": (),
    "detr": (),
    # Parameters of no module of their own.
    "vit": ("*.cls_token", "*.position_embeddings"),
    "deit": ("*.cls_token", "*.distillation_token", "*.position_embeddings"),
    "dinov2": ("*.cls_token", "*.mask_token", "*.position_embeddings"),
    "vit_msn": ("*.cls_token", "*.position_embeddings"),
    "vit_mae": ("*.cls_token", "*.mask_token", "*.position_embeddings", "*.decoder_pos_embed"),
    # Models in which a linear layer has no bias: `embed_out`, BEiT's keys, Swin's reduction, Llama and Gemma.
    "gpt_neox": ("*.attention.*.bias", "*.mlp.*.bias"),
    "beit": ("*.cls_token", "*.lambda_?", "*.query.bias", "*.value.bias", "*.dense.bias", "classifier.bias"),
    "beit-shared": ("*.cls_token", "*.lambda_?", "*.query.bias", "*.value.bias", "*.dense.bias", "classifier.bias"),
    "swin": ("*.query.bias", "*.key.bias", "*.value.bias", "*.dense.bias", "classifier.bias"),
    "llava": ("*.linear_?.bias", "*.class_embedding", "*.mlp.fc?.bias", "*_proj.bias"),
    "paligemma": (
        "*.linear.bias", "*.mlp.fc?.bias", "*_proj.bias", "*.in_proj_bias", "*.in_proj_weight", "*.probe",
    ),
    "gemma3": (
        "*.mm_input_projection_weight", "*.mlp.fc?.bias", "*_proj.bias", "*.in_proj_bias", "*.in_proj_weight",
        "*.probe",
    ),
    "qwen2_vl": ("*_proj.bias", "*.attn.proj.bias", "*.qkv.bias", "*.fc?.bias", "*.merger.mlp.?.bias"),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [kind if kind == "gpt2" else pytest.param(kind, marks=pytest.mark.suite) for kind in LEFT_OUT]
)
def test_an_expert_is_given_back_but_for_what_is_named(kind: str, tmp_path: Path) -> None:
    base = tiny(kind)
    base.save_pretrained(tmp_path / "base")
    names = ("first", "second")
    for seed, name in enumerate(names, 1):
        moved(copy.deepcopy(base), seed).save_pretrained(tmp_path / name)
    given = {
        "base": str(tmp_path / "base"), "models": [str(tmp_path / name) for name in names],
        "method": "task_arithmetic", "scale": 0.4, "output": {"residuals": {"keep": 1.0}},
    }  # fmt: skip
    record = mg.merge(given, tmp_path / "out", workers=1)
    written = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    left = {name for name in written if any(fnmatchcase(name, one) for one in LEFT_OUT[kind])}
    said = " ".join(mg.make_plan(given).notes)
    assert (f"{len(left)} merged tensor" in said) == bool(left)

    merged = type(base).from_pretrained(tmp_path / "out").eval()
    wrapped: Any = None
    for name in names:
        folder = tmp_path / "out" / record.residuals[name]["folder"]
        if wrapped is None:
            wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(merged), folder, adapter_name=name)
        else:
            result = wrapped.load_adapter(folder, name)
            assert not result.unexpected_keys and not [one for one in result.missing_keys if f".{name}." in one]
    for name in names:
        assert set(record.residuals[name]["left_out"]) == left
        # The expert as its file has it, with the merged model's own of what is left out.
        tensors = safetensors.torch.load_file(tmp_path / name / "model.safetensors")
        tensors |= {one: written[one] for one in left}
        safetensors.torch.save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        expert = type(base).from_pretrained(tmp_path / name).eval()
        wrapped.set_adapter(name)
        inputs = inputs_of(kind, base)
        found, expected, before = (first_output(one, inputs) for one in (wrapped.get_base_model(), expert, merged))
        assert (before - expected).abs().max() > 0.02
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def inputs_of(kind: str, model: Any) -> dict[str, torch.Tensor]:
    """Two texts or pictures, as the model takes them."""
    if "pixel_values" not in model.main_input_name:
        return {"input_ids": tokens()} | ({"decoder_input_ids": tokens()} if kind == "t5" else {})
    size = getattr(model.config, "image_size", 64)
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return {"pixel_values": pixels} | ({"noise": torch.linspace(0, 1, 8).view(2, 4)} if kind == "vit_mae" else {})


def first_output(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        outputs = model(**inputs)
    return outputs.logits if "noise" in inputs else outputs[0]
