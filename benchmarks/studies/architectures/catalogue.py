"""The architectures of the survey: the class of each, and what its configuration and inputs need beyond the usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model type of transformers, with the class that is built, saved and loaded."""

    kind: str
    family: str
    head: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_MASKED = """bert roberta xlm-roberta distilbert albert electra deberta deberta-v2 mpnet modernbert convbert squeezebert
mobilebert roformer ernie fnet camembert megatron-bert rembert ibert nystromformer yoso data2vec-text esm xlm
flaubert roberta-prelayernorm xmod eurobert layoutlm"""
_PLAIN_TEXT = "xlnet splinter luke canine longformer big_bird"
_CAUSAL = """gpt2 gpt_neo gpt_neox gptj opt bloom llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi phi3 falcon
stablelm starcoder2 olmo olmo2 olmo3 cohere cohere2 granite smollm3 glm glm4 helium nemotron persimmon mpt codegen ctrl
openai-gpt biogpt xglm gpt_bigcode exaone4 ernie4_5 hunyuan_v1_dense seed_oss arcee apertus ministral vaultgemma lfm2"""
_MIXTURES = """mixtral qwen2_moe qwen3_moe olmoe granitemoe jetmoe phimoe gpt_oss llama4_text dbrx deepseek_v2
deepseek_v3 glm4_moe ernie4_5_moe hunyuan_v1_moe minimax granitemoeshared dots1 flex_olmo"""
_STATES = "mamba mamba2 falcon_mamba rwkv recurrent_gemma bamba jamba nemotron_h qwen3_next"
_PAIRS = """t5 mt5 umt5 bart mbart pegasus marian blenderbot blenderbot-small m2m_100 longt5 prophetnet led plbart fsmt
bigbird_pegasus pegasus_x mvp switch_transformers nllb-moe"""
_IMAGES = """vit beit dinov2 swin swinv2 convnext convnextv2 resnet regnet mobilenet_v1 mobilenet_v2 mobilevit
segformer pvt vit_msn data2vec-vision focalnet hiera ijepa dinov2_with_registers
swiftformer"""
_PLAIN_IMAGES = "vit_mae dpt dinov3_vit siglip_vision_model clip_vision_model yolos"
_SOUNDS = "wav2vec2 hubert wavlm sew sew-d unispeech unispeech-sat data2vec-audio wav2vec2-conformer"

_WINDOWS = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2, "patch_size": 4}
_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "patch_size": 4}
_WAVE = {
    "conv_dim": [16, 16], "conv_stride": [5, 4], "conv_kernel": [10, 5], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_CHANGES: dict[str, dict[str, Any]] = {
    "esm": {"vocab_size": 99, "pad_token_id": 0, "mask_token_id": 4},
    "mobilebert": {"embedding_size": 16},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "luke": {"entity_vocab_size": 9, "entity_emb_size": 16},
    "xlnet": {"d_head": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "deepseek_v2": {"num_key_value_heads": 4, "head_dim": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {"num_key_value_heads": 4, "head_dim": 8},
    "ernie4_5_moe": {"moe_k": 2, "moe_layer_start_index": 0},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"moe_num_experts": 4, "moe_top_k": 2, "ffn_hidden_size": 48},
    },
    "mamba2": {"num_heads": 8},
    "bamba": {"mamba_n_heads": 8},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "focalnet": {"embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3], "patch_size": 4},
    "hiera": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "image_size": [32, 32], "num_query_pool": 1},
    "pvt": {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]},
    "yolos": {"image_size": [32, 32], "num_detection_tokens": 4},
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8},
    "fsmt": {"src_vocab_size": 99, "tgt_vocab_size": 99},
    "led": {"attention_window": 8, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64},
    "segformer": {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32},
}
_PIXELS = {"pixel_values": (2, 3, 64, 64)}
_SHAPES: dict[str, dict[str, tuple[int, ...]]] = dict.fromkeys(
    ["convnext", "convnextv2", "resnet", "regnet", "mobilenet_v1", "mobilenet_v2", "swiftformer", "segformer"],
    _PIXELS,
)

_TEXT_AND_IMAGE = {"input_ids": (2, 8), "pixel_values": (2, 3, 32, 32)}
_IMAGE_IN_TEXT = {**_TEXT_AND_IMAGE, "input_ids": (2, 24)}
_LANGUAGE = {"text_config": {"model_type": "llama", "hidden_size": 32, "vocab_size": 99}, "image_token_id": 98}


def _own_classes() -> Iterator[Architecture]:
    """Those with a class, inputs or a configuration of their own."""
    yield Architecture("funnel", "text encoder", "FunnelModel", {"block_sizes": [1, 1], "block_repeats": [1, 1]})
    yield Architecture("deit", "vision", "DeiTForImageClassification")
    yield Architecture("gemma2", "text encoder", "Gemma2ForSequenceClassification")
    yield Architecture("bert", "text encoder", "BertForTokenClassification")
    yield Architecture(
        "whisper", "audio", "WhisperForConditionalGeneration", {"max_source_positions": 32},
        {"input_features": (2, 80, 64)},
    )  # fmt: skip
    yield Architecture("wav2vec2", "audio", "Wav2Vec2ForCTC", _WAVE)
    yield Architecture("wav2vec2-bert", "audio", "Wav2Vec2BertModel", shapes={"input_features": (2, 40, 160)})
    yield Architecture(
        "audio-spectrogram-transformer", "audio", "ASTModel", {"max_length": 64, "num_mel_bins": 32},
        {"input_values": (2, 64, 32)},
    )  # fmt: skip
    yield Architecture("clip", "vision-language", "CLIPModel", shapes=_TEXT_AND_IMAGE)
    yield Architecture("chinese_clip", "vision-language", "ChineseCLIPModel", shapes=_TEXT_AND_IMAGE)
    yield Architecture("siglip", "vision-language", "SiglipModel", shapes=_TEXT_AND_IMAGE)
    yield Architecture("blip", "vision-language", "BlipForConditionalGeneration", shapes=_TEXT_AND_IMAGE)
    yield Architecture("vilt", "vision-language", "ViltModel", shapes=_TEXT_AND_IMAGE)
    yield Architecture("git", "vision-language", "GitForCausalLM", shapes=_TEXT_AND_IMAGE)
    for kind, head in (
        ("llava", "LlavaForConditionalGeneration"),
        ("vipllava", "VipLlavaForConditionalGeneration"),
    ):
        changes = {**_LANGUAGE, "image_seq_length": 16, "vision_feature_layer": -1}
        if kind == "vipllava":
            changes = {**changes, "vision_feature_layers": [-1, -2]}
        yield Architecture(kind, "vision-language", head, changes, {**_IMAGE_IN_TEXT, "image tokens": (16,)})
    yield Architecture(
        "paligemma", "vision-language", "PaliGemmaForConditionalGeneration",
        {"image_token_id": 98, "projection_dim": 32, "vision_config": {"projection_dim": 32}},
        {**_IMAGE_IN_TEXT, "image tokens": (16,)},
    )  # fmt: skip
    yield Architecture(
        "gemma3", "vision-language", "Gemma3ForConditionalGeneration",
        {"image_token_id": 98, "mm_tokens_per_image": 4}, {**_IMAGE_IN_TEXT, "image tokens": (4,)},
    )  # fmt: skip
    for kind, head in (
        ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
        ("qwen3_vl", "Qwen3VLForConditionalGeneration"),
        ("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration"),
    ):
        sizes = {"patch_size": 8, "out_hidden_size": 32, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        changes = {"image_token_id": 98, "vision_start_token_id": 97, "vision_config": sizes}
        if kind.startswith("qwen2"):
            rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
            changes["text_config"] = {"rope_parameters": rope}
            changes["vision_config"] = {**sizes, "embed_dim": 32}
        shapes = {"input_ids": (2, 12), "pixel_values": (32, 384), "image_grid_thw": (2, 3), "image tokens": (4,)}
        yield Architecture(kind, "vision-language", head, changes, shapes)


def architectures() -> Iterator[Architecture]:
    """All of them, family by family."""
    for family, head, kinds in (
        ("text encoder", "AutoModelForMaskedLM", _MASKED),
        ("text encoder", "AutoModel", _PLAIN_TEXT),
        ("decoder", "AutoModelForCausalLM", _CAUSAL),
        ("mixture of experts", "AutoModelForCausalLM", _MIXTURES),
        ("state space", "AutoModelForCausalLM", _STATES),
        ("encoder-decoder", "AutoModelForSeq2SeqLM", _PAIRS),
        ("vision", "AutoModelForImageClassification", _IMAGES),
        ("vision", "AutoModel", _PLAIN_IMAGES),
        ("audio", "AutoModel", _SOUNDS),
    ):
        for kind in kinds.split():
            changes = _WAVE if family == "audio" else _CHANGES.get(kind, {})
            yield Architecture(kind, family, head, changes, _SHAPES.get(kind, {}))
    yield from _own_classes()
