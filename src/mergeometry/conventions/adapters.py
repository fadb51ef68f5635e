"""Weights that are an adapter and no model, told by the names of their tensors; and adapters of quantised bases.

| names | who writes them |
| --- | --- |
| `lora_unet_..._attn1_to_q.lora_down.weight`, `lora_te_....alpha` | kohya's sd-scripts (`networks/lora.py`) |
| `....hada_w1_a`, `....lokr_w1`, `....oft_blocks` | LyCORIS (`lycoris/modules`) |
| `unet....lora_A.weight`, `transformer....lora.down.weight` | diffusers (`loaders/lora_pipeline.py`) |
| `double_blocks.0.processor.qkv_lora1.down.weight` | XLabs (`x-flux`) |
| `diffusion_model....lora_A.weight` | ComfyUI and ai-toolkit |
| `....base_layer.weight` beside `....lora_A.default.weight` | a model that was saved with PEFT's adapters still in it |
| `base_model.model....lora_A.weight` | PEFT, without the settings |
| `model.layers.0.self_attn.q_proj.lora_a` | mlx-lm (`tuner/lora.py`) |
| `....lora_A`, `....lora_B` | loralib |
| `prompt_embeddings`, `emb_params` | PEFT's prompts, textual inversion |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_FILE_HINT = "give it under `models`, with the unet, transformer or text encoder that it is for as the base"
_DIFFUSERS_HINT = (
    "fold it into its base with diffusers: pipe.load_lora_weights(folder, weight_name=file); pipe.fuse_lora(); "
    "pipe.unload_lora_weights(); pipe.save_pretrained(output); and give output/unet or output/transformer"
)
_LYCORIS_HINT = "fold it into its base with LyCORIS's own tools/merge.py, and give the result as a full model"
_SETTINGS_HINT = (
    "give the folder that PEFT saved, with adapter_config.json and adapter_model.safetensors; without the settings the "
    "scaling of the factors is unknown"
)
_PROMPT_HINT = "it changes no weight, so that there is nothing to merge"


class ForeignAdapter(NamedTuple):
    """A kind of adapter, how a name of one of its tensors looks, and what to do with it."""

    kind: str
    names: re.Pattern[str]
    hint: str


FOREIGN_ADAPTERS = (
    ForeignAdapter(
        "a LyCORIS adapter (LoHa, LoKr or OFT)",
        re.compile(r".+\.(hada_[wt][12](_[ab])?|lokr_(w|t)[12]?(_[ab])?|oft_blocks|oft_diag|on_input)"),
        _LYCORIS_HINT,
    ),
    ForeignAdapter(
        "a LoRA in kohya's format",
        re.compile(r"lora_(unet|te\d?|transformer|prior|llm)_.+\.(lora_(down|up|mid)\.weight|alpha|dora_scale)"),
        _FILE_HINT,
    ),
    ForeignAdapter(
        "a LoRA in XLabs' format",
        re.compile(r"(double|single)_blocks\.\d+\.processor\.\w*lora\d?\.(down|up)\.weight"),
        _DIFFUSERS_HINT,
    ),
    ForeignAdapter(
        "a LoRA of a diffusion model",
        re.compile(
            r"(unet|transformer|transformer_2|prior|text_encoder(_\d)?|diffusion_model)\..+"
            r"\.(lora_[AB](\.default)?|lora_(down|up)|(to_\w+_)?lora\.(down|up)|lora_linear_layer\.(down|up))\.weight"
        ),
        _FILE_HINT,
    ),
    ForeignAdapter(
        "a PEFT adapter without its settings",
        re.compile(r"base_model\.model\..+\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)(\..+)?"),
        _SETTINGS_HINT,
    ),
    ForeignAdapter(
        "a model that was saved with its adapters still in it",
        re.compile(r"(?!base_model\.model\.).+\.(base_layer\.(weight|bias)|lora_[AB]\.[^.]+\.weight)"),
        "call PEFT's merge_and_unload before save_pretrained, or save the adapter alone with the PEFT model's own "
        "save_pretrained",
    ),
    ForeignAdapter(
        "an adapter of mlx-lm",
        re.compile(r".+\.lora_[ab]"),
        "fold it into its base: mlx_lm.fuse --model BASE --adapter-path FOLDER --save-path OUTPUT",
    ),
    ForeignAdapter(
        "LoRA factors without their base",
        re.compile(r".+\.lora_([AB](\.weight)?|[ab]\.weight|(down|up)\.weight)"),
        "fold them into their base with the library that trained them, or save them as PEFT does, with an "
        "adapter_config.json",
    ),
    ForeignAdapter("trained prompts", re.compile(r"prompt_embeddings|emb_params|string_to_param\..+"), _PROMPT_HINT),
)
"""In the order in which they are tried: the first that a name of the file fits."""

_MARKS = ("lora", "hada_", "lokr_", "oft_", "on_input", "base_layer", "prompt_embeddings", "emb_params", "string_to_p")
"""Every name that one of the patterns fits has one of these in it; few models have such a name."""

_QUANTISED_NAME = re.compile(
    r"(^|[-_/])(bnb[-_]?[48]bit|[48]bit|int[48]|nf4|awq|gptq|aqlm|hqq|fp8)($|[-_/])", re.IGNORECASE
)


def foreign_adapter(names: Iterable[str]) -> tuple[str, ForeignAdapter] | None:
    """The first tensor that belongs to an adapter, and the kind; None where all may be a model's."""
    known = list(names)
    together = "\n".join(known)
    if not any(mark in together for mark in _MARKS):
        return None
    for kind in FOREIGN_ADAPTERS:
        for name in known:
            if kind.names.fullmatch(name):
                return name, kind
    return None


def quantised_base(config: Mapping[str, Any]) -> str | None:
    """What an adapter's settings say of a quantised base that it was trained on; None where they say nothing."""
    name = config.get("base_model_name_or_path")
    if isinstance(name, str) and _QUANTISED_NAME.search(name.rstrip("/")):
        return f"it was trained on {name!r}"
    if config.get("loftq_config"):
        return "it has a loftq_config"
    return None
