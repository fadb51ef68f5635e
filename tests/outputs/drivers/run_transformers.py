"""Models of transformers, of whichever version the interpreter has: made by one, loaded and run by another."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from comparing import TUNED, compared, family, main
from torch import Tensor

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
VISION = {**SMALL, "image_size": 16, "patch_size": 8}
ENCODER = {**SMALL, "vocab_size": 64, "max_position_embeddings": 64}
TEXT = {**ENCODER, "num_key_value_heads": 1}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": 64}


def _clip(t: Any) -> Any:
    return t.CLIPConfig(text_config={**ENCODER, "eos_token_id": 2}, vision_config=VISION, projection_dim=16)


def _llava(t: Any) -> Any:
    # One patch of the image takes one place in the text; the projector needs no more than the patches' width.
    vision, text = t.CLIPVisionConfig(**VISION), t.LlamaConfig(**TEXT)
    return t.LlavaConfig(vision_config=vision, text_config=text, image_token_index=63)


MODELS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "bert": ("BertForSequenceClassification", lambda t: t.BertConfig(**ENCODER)),
    "roberta": ("RobertaForMaskedLM", lambda t: t.RobertaConfig(**ENCODER)),
    "vit": ("ViTForImageClassification", lambda t: t.ViTConfig(**VISION)),
    "clip": ("CLIPModel", _clip),
    "dinov2": ("Dinov2Model", lambda t: t.Dinov2Config(**VISION)),
    "llama": ("LlamaForCausalLM", lambda t: t.LlamaConfig(**TEXT)),
    "qwen2": ("Qwen2ForCausalLM", lambda t: t.Qwen2Config(**TEXT, tie_word_embeddings=True)),
    "gemma": ("GemmaForCausalLM", lambda t: t.GemmaConfig(**TEXT, head_dim=16)),
    "t5": ("T5ForConditionalGeneration", lambda t: t.T5Config(**T5, decoder_start_token_id=0)),
    "gpt2": ("GPT2LMHeadModel", lambda t: t.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=64)),
    "mixtral": ("MixtralForCausalLM", lambda t: t.MixtralConfig(**TEXT, num_local_experts=4)),
    "llava": ("LlavaForConditionalGeneration", _llava),
}


def make(name: str, place: Path) -> None:
    kind, config = MODELS[name]
    model = getattr(transformers, kind)(config(transformers)).eval()
    for each, tuned in family(model).items():
        tuned.save_pretrained(place / each, safe_serialization=True)


def check(name: str, place: Path) -> dict[str, float]:
    found = []
    for each in ("merged", *TUNED):
        kind = json.loads((place / each / "config.json").read_text())["architectures"][0]
        model, report = getattr(transformers, kind).from_pretrained(place / each, output_loading_info=True)
        missing = sorted(report["missing_keys"])
        assert not missing and not report["unexpected_keys"], f"{name}/{each}: {missing}, {report['unexpected_keys']}"
        found.append(model.float())
    return compared(functools.partial(outputs, name), found[0], found[1:])


def outputs(name: str, model: Any) -> Tensor:
    """What the model computes from two texts, two images, or both."""
    texts = torch.arange(3, 17).reshape(2, 7)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    if name in ("vit", "dinov2"):
        return model(pixel_values=images)[0]
    if name == "clip":
        return model(input_ids=texts, pixel_values=images).logits_per_image
    if name == "llava":
        texts[:, :4] = 63
        return model(input_ids=texts, pixel_values=images).logits
    if name == "t5":
        return model(input_ids=texts, decoder_input_ids=texts).logits
    return model(input_ids=texts)[0]


if __name__ == "__main__":
    main({name: functools.partial(make, name) for name in MODELS}, check)
