"""What the keys of a `config.json` mean to a merge: which change the forward pass, and which say nothing of it.

Sources: `PretrainedConfig` of transformers and the `configuration_*.py` of its models; for the defaults, the values
that nearly all of those share. `rope_parameters` replaced `rope_theta` and `rope_scaling` in version 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORWARD = frozenset({
    "model_type", "position_embedding_type", "is_decoder", "add_cross_attention", "is_encoder_decoder",
    # positions
    "rope_theta", "rope_scaling", "rope_local_base_freq", "rotary_emb_base", "rotary_pct", "rotary_dim",
    "partial_rotary_factor", "rope_interleave", "no_rope_layers", "no_rope_layer_interval", "alibi", "use_alibi",
    "relative_attention_num_buckets", "relative_attention_max_distance", "max_relative_positions", "position_buckets",
    "pos_att_type", "relative_attention", "mrope_section",
    # heads and windows
    "num_attention_heads", "num_key_value_heads", "head_dim", "n_head", "n_heads", "num_heads", "d_kv",
    "encoder_attention_heads", "decoder_attention_heads", "multi_query", "sliding_window", "use_sliding_window",
    "max_window_layers", "layer_types", "sliding_window_pattern", "attention_window", "attention_types", "window_size",
    "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "qk_norm", "use_qk_norm",
    # activations and norms
    "hidden_act", "hidden_activation", "activation_function", "activation", "feed_forward_proj", "dense_act_fn",
    "is_gated_act", "layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_epsilon", "layernorm_epsilon",
    "norm_eps",
    "do_layer_norm_before", "normalize_before", "apply_residual_connection_post_layernorm", "parallel_attn",
    "use_parallel_residual", "new_decoder_architecture", "final_logit_softcapping", "attn_logit_softcapping",
    # factors
    "scale_embedding", "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
    "logit_scale", "query_pre_attn_scalar", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "scale_emb",
    "scale_depth", "dim_model_base", "embedding_size_scale", "mup_embeddings_scale",
    # experts
    "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "norm_topk_prob", "routed_scaling_factor",
    "scoring_func", "topk_method", "n_group", "topk_group", "decoder_sparse_step", "mlp_only_layers",
    # images
    "image_size", "patch_size", "num_channels", "projection_dim", "vision_feature_layer",
    "vision_feature_select_strategy", "image_token_id", "image_token_index",
})  # fmt: skip
"""Keys that change what the same weights compute. Sizes are left out: the tensors' shapes show them."""

SILENT = frozenset({
    "_name_or_path", "name_or_path", "transformers_version", "transformers.js_config", "architectures", "auto_map",
    "torch_dtype", "dtype", "use_cache", "torchscript", "use_bfloat16", "return_dict", "output_attentions",
    "output_hidden_states", "gradient_checkpointing", "initializer_range", "initializer_factor", "init_std",
    "_attn_implementation", "attn_implementation", "_attn_implementation_autoset", "_commit_hash", "unsloth_version",
    "unsloth_fixed", "pretraining_tp", "finetuning_task", "task_specific_params", "problem_type", "id2label",
    "label2id", "num_labels", "tie_word_embeddings", "vocab_size", "hidden_size", "intermediate_size",
    "num_hidden_layers",
    "gradient_checkpointing_kwargs", "use_flash_attn", "attn_config", "return_unused_kwargs", "model_name",
    "output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef", "layerdrop",
    "pruned_heads", "chunk_size_feed_forward", "tf_legacy_loss", "_diffusers_version", "quantization_config",
    "is_composition", "sub_configs", "tokenizer_class", "base_model_name_or_path", "kernel_options",
})  # fmt: skip
"""Keys that change nothing that a merged model computes, or that other checks compare by the tensors themselves."""

DEFAULTS: Mapping[str, Any] = {
    "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "position_embedding_type": "absolute", "is_decoder": False,
    "add_cross_attention": False, "is_encoder_decoder": False, "use_sliding_window": False, "scale_embedding": False,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "alibi": False, "normalize_before": False,
    "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0, "multi_query": False,
}  # fmt: skip
"""What an absent key means; of a key that is not here an absence proves nothing."""

_PARTS = ("encoder", "decoder", "generator", "question_encoder")
_PLACEHOLDER = "LABEL_"


def plain_configuration(config: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The keys of a configuration and of its parts, dotted, as every version of transformers means them."""
    plain: dict[str, Any] = {}
    for key, value in _with_rope(config).items():
        if isinstance(value, Mapping) and (key.endswith("_config") or key in _PARTS):
            plain |= plain_configuration(value, f"{place}{key}.")
        elif value is not None:
            plain[place + key] = value
    return plain


def differences(own: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """Compare two plain configurations: keys that change the forward pass with both values, and other keys.

    A key that one of them lacks counts by its default. Without a known one it is among the other keys if it could
    change the forward pass; the rest of such keys are what another version of transformers writes.
    """
    same_version = own.get("transformers_version") == base.get("transformers_version")
    forward: dict[str, tuple[Any, Any]] = {}
    others: list[str] = []
    for key in sorted(own.keys() | base.keys()):
        name = key.rpartition(".")[2]
        if name in SILENT or "dropout" in name or "drop_path" in name or _has_no_window(key, name, own, base):
            continue
        fallback = _fallback(key, name, own, base)
        pair = own.get(key, fallback), base.get(key, fallback)
        if pair[0] == pair[1]:
            continue
        if name in FORWARD and (None not in pair or name == "rope_scaling"):
            forward[key] = pair
        elif name in FORWARD or None not in pair or same_version:
            others.append(key)
    return forward, others


def labels(config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of the classes in the order of the classifier's rows; none where they are placeholders."""
    table = (config or {}).get("id2label")
    if not isinstance(table, Mapping):
        return ()
    try:
        names = [str(table[key]) for key in sorted(table, key=int)]
    except ValueError:
        return ()
    return () if all(name.startswith(_PLACEHOLDER) for name in names) else tuple(names)


def _has_no_window(key: str, name: str, own: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a key is the size of a window that neither model uses."""
    switch = f"{key.removesuffix(name)}use_sliding_window"
    return name in ("sliding_window", "max_window_layers") and own.get(switch) is base.get(switch) is False


def _fallback(key: str, name: str, own: Mapping[str, Any], base: Mapping[str, Any]) -> Any:
    if name == "num_key_value_heads":  # without it every head has keys of its own
        heads = f"{key.removesuffix(name)}num_attention_heads"
        return base.get(heads, own.get(heads))
    if name == "head_dim":
        return own.get(key, base.get(key))  # the shapes show a real difference
    return DEFAULTS.get(name)


def _with_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings under the names of version 4: `rope_theta`, and `rope_scaling` where there is any."""
    plain = dict(config)
    parameters = plain.pop("rope_parameters", None)
    if isinstance(parameters, Mapping):
        by_layer = [parameters[kind] for kind in ("full_attention", "sliding_attention") if kind in parameters]
        first = by_layer[0] if by_layer and isinstance(by_layer[0], Mapping) else parameters
        plain.update(_scaling_parts(first))
        if len(by_layer) > 1 and isinstance(by_layer[1], Mapping):
            plain["rope_local_base_freq"] = by_layer[1].get("rope_theta")
    elif isinstance(plain.get("rope_scaling"), Mapping):
        plain.update(_scaling_parts(plain["rope_scaling"]))
    return plain


def _scaling_parts(settings: Mapping[str, Any]) -> dict[str, Any]:
    rest = {("rope_type" if key == "type" else key): value for key, value in settings.items() if value is not None}
    parts = {key: rest.pop(key) for key in ("rope_theta", "partial_rotary_factor") if key in rest}
    if rest.get("rope_type", "default") == "default":
        rest.pop("rope_type", None)
    return {**parts, "rope_scaling": rest or None}
