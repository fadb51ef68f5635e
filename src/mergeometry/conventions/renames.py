"""Names of weights that Transformers has changed: old and new, for models and adapters saved by either.

Version 5 loads files of version 4 by renaming their tensors, and writes full models under the old names; adapters are
written under the names in memory. So a base on disk and an adapter of it differ, though nothing is wrong. Each rule
below turns an old name into the new one and leaves a new one as it is. Source: `transformers/conversion_mapping.py` of
version 5.23, rules that rename only; those that split or stack tensors are not names, and are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mergeometry.conventions.configs import model_types

_VIT = (
    (r"\bdecoder_encoder\.layer\.", "decoder_layers."),
    (r"\bencoder\.layer\.", "layers."),
    (r"\battention\.attention\.(query|key|value)\b", r"attention.\1"),
    (r"\battention\.query\b", "attention.q_proj"),
    (r"\battention\.key\b", "attention.k_proj"),
    (r"\battention\.value\b", "attention.v_proj"),
    (r"\battention\.output\.dense\b", "attention.o_proj"),
    (r"\bintermediate\.dense\b", "mlp.fc1"),
    (r"(?<!attention\.)\boutput\.dense\b", "mlp.fc2"),
)
_BEIT = (
    (r"\battention\.attention\.relative_position_bias\.relative_position_bias_table\b",
     "relative_position_bias.relative_position_bias_table"),
    (r"\bencoder\.relative_position_bias\b", "shared_position_bias"),
    *_VIT,
)  # fmt: skip
_DINOV2 = (
    (r"\battention\.attention\.query\b", "attention.q_proj"),
    (r"\battention\.attention\.key\b", "attention.k_proj"),
    (r"\battention\.attention\.value\b", "attention.v_proj"),
    (r"\battention\.output\.dense\b", "attention.o_proj"),
    (r"\bmlp\.weights_out\b", "mlp.down_proj"),
)
_SWIN = (
    (r"\battention\.self\.query\b", "attention.q_proj"),
    (r"\battention\.self\.key\b", "attention.k_proj"),
    (r"\battention\.self\.value\b", "attention.v_proj"),
    (r"\battention\.self\.relative_position_bias_table\b",
     "attention.relative_position_bias.relative_position_bias_table"),
    (r"\battention\.output\.dense\b", "attention.o_proj"),
    (r"\bintermediate\.dense\b", "mlp.fc1"),
    (r"(?<!attention\.)\boutput\.dense\b", "mlp.fc2"),
)  # fmt: skip
_SEGFORMER = (
    (r"\bencoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"\bencoder\.block\.(\d+)\.", r"stages.\1.blocks."),
    (r"\bencoder\.layer_norm\.(\d+)\b", r"stages.\1.layer_norm"),
    (r"\battention\.self\.query\b", "attention.q_proj"),
    (r"\battention\.self\.key\b", "attention.k_proj"),
    (r"\battention\.self\.value\b", "attention.v_proj"),
    (r"\battention\.self\.sr\b", "attention.sequence_reduction.sequence_reduction"),
    (r"\battention\.self\.layer_norm\b", "attention.sequence_reduction.layer_norm"),
    (r"\battention\.output\.dense\b", "attention.o_proj"),
    (r"\bmlp\.dense1\b", "mlp.fc1"),
    (r"\bmlp\.dense2\b", "mlp.fc2"),
    (r"\blayer_norm_1\b", "layernorm_before"),
    (r"\blayer_norm_2\b", "layernorm_after"),
)
_DETR = (
    (r"\bbackbone\.conv_encoder\b", "backbone"),
    (r"\b(self_attn|encoder_attn)\.out_proj\b", r"\1.o_proj"),
    (r"\blayers\.(\d+)\.(fc1|fc2)\b", r"layers.\1.mlp.\2"),
)
_TOWERS = (
    (r"^language_model\.lm_head\b", "lm_head"),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^model\.language_model\.model\.", "model.language_model."),
    (r"^language_model\.", "model.language_model."),
    (r"^(vision_tower|vision_model|audio_tower|image_tower|video_tower|multi_modal_projector|image_newline|"
     r"vision_embed_tokens)(?=\.|$)", r"model.\1"),
    # Until version 5, a tower of CLIP or SigLIP held its layers one name deeper.
    (r"\bvision_tower\.vision_model\.", "vision_tower."),
)  # fmt: skip
_QWEN2_VL = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?!language_model\.|visual\.)", "model.language_model."),
)
_MOE_NAMES = ((r"\bblock_sparse_moe\.", "mlp."),)

_FAMILIES: tuple[tuple[frozenset[str], tuple[tuple[str, str], ...]], ...] = (
    (frozenset({"vit", "deit", "ijepa", "vit_mae", "vit_msn", "vivit", "audio-spectrogram-transformer"}), _VIT),
    (frozenset({"beit"}), _BEIT),
    (frozenset({"dinov2", "dinov2_with_registers"}), _DINOV2),
    (frozenset({"swin"}), _SWIN),
    (frozenset({"segformer"}), _SEGFORMER),
    (frozenset({"detr", "table-transformer", "rt_detr", "rt_detr_v2"}), _DETR),
    (
        frozenset({
            "llava", "llava_next", "llava_next_video", "llava_onevision", "vipllava", "video_llava", "gemma3",
            "paligemma", "mistral3", "aya_vision", "internvl", "got_ocr2", "aria", "mllama", "qwen2_audio", "voxtral",
            "fuyu",
        }),
        _TOWERS,
    ),
    (frozenset({"qwen2_vl", "qwen2_5_vl"}), _QWEN2_VL),
    (frozenset({"gpt_neox"}), ((r"^embed_out\.", "lm_head."),)),
    (frozenset({"mixtral", "phimoe", "minimax", "minimax_m2"}), _MOE_NAMES),
)  # fmt: skip
"""Types of models, and the rules for their names, in the order in which they apply."""

_EVERY_TYPE = (
    (r"\bLayerNorm\.gamma$", "LayerNorm.weight"),
    (r"\bLayerNorm\.beta$", "LayerNorm.bias"),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)
"""Names in models of any type: TensorFlow's in converted BERTs, and those of weight normalisation before torch 2.0."""


class Renames:
    """The rules that hold for a model of the given configuration; without one, those that hold for every model."""

    def __init__(self, config: Mapping[str, Any] | None) -> None:
        types = model_types(config)
        rules = [rule for family, rules in _FAMILIES if family & types for rule in rules]
        self._rules = [(re.compile(old), new) for old, new in (*rules, *_EVERY_TYPE)]

    def newest(self, name: str) -> str:
        """A tensor's name as the newest version writes it."""
        for old, new in self._rules:
            name = old.sub(new, name)
        return name
