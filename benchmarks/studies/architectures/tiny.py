"""Shrinks the default configuration of an architecture to a model of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

_SIZES: dict[int, tuple[str, ...]] = {
    32: (
        "hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim", "word_embed_proj_dim", "hidden_dim",
        "projection_dim", "embedding_dim", "projection_size", "encoder_hidden_size", "image_size", "bottleneck_size",
        "true_hidden_size", "intra_bottleneck_size", "conv_hidden_size", "attention_hidden_size", "lru_width",
        "embed_size",
    ),
    48: (
        "intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner", "ffn_hidden_size",
        "dff", "d_inner", "intermediate_size_mlp", "shared_expert_intermediate_size", "mlp_hidden_size",
        "shared_intermediate_size", "block_ff_dim",
    ),
    24: ("moe_intermediate_size", "expert_ffn_hidden_size"),
    2: (
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers", "num_blocks",
        "num_decoder_layers", "num_encoder_layers", "num_key_value_heads", "num_experts_per_tok",
        "num_experts_per_token", "n_group", "topk_group", "moe_topk", "num_key_value", "n_mlp_layers", "depth",
    ),
    4: (
        "num_attention_heads", "n_head", "n_heads", "encoder_attention_heads", "decoder_attention_heads", "num_experts",
        "num_local_experts", "n_routed_experts", "moe_num_experts", "num_heads", "mamba_n_heads", "r",
    ),
    8: (
        "head_dim", "d_kv", "patch_size", "q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim",
        "v_head_dim", "rotary_dim", "state_size", "mamba_d_head", "mamba_d_state", "kv_channels", "linear_key_head_dim",
        "linear_value_head_dim", "ssm_state_size", "mamba_head_dim",
    ),
    64: (
        "max_position_embeddings", "n_positions", "n_ctx", "max_source_positions", "max_target_positions",
        "max_seq_len",
    ),
    99: ("vocab_size", "text_vocab_size"),
}  # fmt: skip
_SMALL = {key: value for value, keys in _SIZES.items() for key in keys}
_LEFT_OUT = {
    "transformers_version", "architectures", "torch_dtype", "dtype", "stage_names", "out_features", "out_indices",
    "_out_features", "_out_indices", "per_layer_config",
}  # fmt: skip
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "sep_token_id": 3}


def configuration(kind: str, changes: Mapping[str, Any]) -> transformers.PreTrainedConfig:
    """The small configuration of a model type; ``changes`` are what the general sizes do not say."""
    known = transformers.CONFIG_MAPPING[kind]
    return known(**_merged(_shrunk(known().to_dict()), changes))


def build(kind: str, head: str, changes: Mapping[str, Any]) -> Any:
    """A model whose weights are all random: fresh ones have biases of 0 and norms of 1, which hide mistakes."""
    torch.manual_seed(0)
    config = configuration(kind, changes)
    own = getattr(transformers, head)
    model = own.from_config(config) if head.startswith("Auto") else own(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model.float().eval()


def _shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    small = {}
    for key, value in values.items():
        if isinstance(value, dict) and key.endswith(("_config", "config")):
            small[key] = _shrunk(value)
        elif key in _SMALL and isinstance(value, int) and not isinstance(value, bool):
            small[key] = _SMALL[key]
        elif key in _TOKENS and isinstance(value, int):
            small[key] = _TOKENS[key]
        elif key in {"layer_types", "mlp_layer_types"}:
            small[key] = value[:2] if isinstance(value, list) else value
        elif key not in _LEFT_OUT:
            small[key] = value
    return small


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in changes.items():
        own = result.get(key)
        result[key] = _merged(own, value) if isinstance(own, dict) and isinstance(value, Mapping) else value
    return result
