"""What the settings of PEFT's adapters mean for a merge, and which kinds have weights that can be folded in.

Sources: `peft/tuners/*/config.py` and `peft/tuners/lora/variants.py` of peft 0.21.
"""

from __future__ import annotations

from typing import NamedTuple

MERGE_HINT = "merge it into its base with peft's merge_and_unload, save that, and give that folder as a full model"

NO_WEIGHTS_HINT = "it cannot be merged with anything, by peft either; train a LoRA adapter for the task instead"

READ_KINDS = frozenset({"LORA", "TRAINABLE_TOKENS", "LN_TUNING"})
"""Values of peft_type whose tensors are read."""

UNMERGEABLE_KINDS = {
    "PROMPT_TUNING": "it puts trained vectors in front of the input and changes no weight",
    "MULTITASK_PROMPT_TUNING": "it puts trained vectors in front of the input and changes no weight",
    "P_TUNING": "it puts trained vectors in front of the input and changes no weight",
    "CPT": "it puts trained vectors in front of the input and changes no weight",
    "PREFIX_TUNING": "it puts trained keys and values in front of each layer's and changes no weight",
    "CARTRIDGE": "it puts trained keys and values in front of each layer's and changes no weight",
    "ADAPTION_PROMPT": "it adds a gated prompt to the attention and changes no weight",
    "LILY": "it routes among shared factors by the input",
    "POLY": "it routes among several adapters",
    "XLORA": "it routes among several adapters by the input",
    "SHADOW": "its change of a layer depends on the input",
}
"""Kinds that no weights can stand for, so that peft's merge_and_unload has no result for them either."""


class Refused(NamedTuple):
    """Why a setting makes an adapter unreadable, and what to do about it."""

    reason: str
    hint: str = MERGE_HINT


REFUSED_SETTINGS = {
    "use_qalora": Refused("QA-LoRA pools the input, so the update is not B A", NO_WEIGHTS_HINT),
    "use_bdlora": Refused("its factors are block diagonal"),
    "use_alora": Refused("it acts on some tokens only", NO_WEIGHTS_HINT),
    "alora_invocation_tokens": Refused("it acts on some tokens only", NO_WEIGHTS_HINT),
    "arrow_config": Refused("it routes among several adapters", NO_WEIGHTS_HINT),
    "kasa_config": Refused("KaSA truncates the base's weight"),
    "monteclora_config": Refused("its factors are random variables"),
    "velora_config": Refused("its factors are not those of LoRA"),
    "layer_replication": Refused(
        "it changes the number of layers",
        "merge it with peft's merge_and_unload, and give a base with the same layers repeated",
    ),
    "megatron_config": Refused("Megatron's parallel layers are not read"),
}
"""Settings that make an adapter something other than `W + scaling B A`."""

UNTOUCHED_BASE = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that leave the base's weight as it was, so that B A is the whole update."""

READ_SETTINGS = frozenset({
    "alpha_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "lora_bias", "modules_to_save",
    "peft_type", "r", "rank_pattern", "target_parameters", "token_indices", "trainable_token_indices", "use_dora",
    "use_rslora",
})  # fmt: skip
"""Settings that decide what the tensors mean, and are read."""

HARMLESS_SETTINGS = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "inference_mode",
    "init_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config",
    "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
})  # fmt: skip
"""Settings that say how an adapter was trained, and nothing about what its tensors mean."""
