"""The rules by which configurations give layers kinds by their numbers, and the keys that say the same by layers.

Source: the configuration files of Transformers 5.23, and its version 4 for rules without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Section = Mapping[str, Any]
Kind = Any

DENSE, _SPARSE = "dense", "sparse"
_SLIDING, _FULL = "sliding_attention", "full_attention"


class Rule(NamedTuple):
    """A rule on a layer's number, and the key that replaces it."""

    key: str
    kind: Callable[[Section, int], Kind]
    """What the rule makes of a layer; None where the configuration has no such rule."""
    instead: str | None
    """The key that says the same by layers, in a list of items or of numbers, and wins over the rule."""
    among: Kind = None
    """For a list of numbers, the kind of the layers that it lists."""


def _sliding(section: Section, layer: int) -> Kind:
    """Gemma 3, Cohere 2 and their kin: every n-th layer attends to everything."""
    defaults = {"gemma3_text": 6, "gemma3": 6, "cohere2": 4}
    every = section.get("sliding_window_pattern") or defaults.get(str(section.get("model_type")))
    return None if not isinstance(every, int) else _SLIDING if (layer + 1) % every else _FULL


def _alternating(section: Section, layer: int) -> Kind:
    """Gemma 2: every second layer, by its modelling code alone in files of version 4."""
    return None if section.get("model_type") != "gemma2" else _FULL if layer % 2 else _SLIDING


def _global(section: Section, layer: int) -> Kind:
    """ModernBERT: the first of every n layers attends to everything."""
    every = section.get("global_attn_every_n_layers") or (3 if section.get("model_type") == "modernbert" else None)
    return None if not isinstance(every, int) else _SLIDING if layer % every else _FULL


def _windowed(section: Section, layer: int) -> Kind:
    """Qwen 2 and 3: layers from a number on have a window, if windows are used at all."""
    first = section.get("max_window_layers")
    if section.get("use_sliding_window") is not True or not isinstance(first, int):
        return None
    return _SLIDING if layer >= first else _FULL


def _linear(section: Section, layer: int) -> Kind:
    every = section.get("full_attention_interval")
    return None if not isinstance(every, int) else "linear_attention" if (layer + 1) % every else _FULL


def _rotary(section: Section, layer: int) -> Kind:
    every = section.get("no_rope_layer_interval")
    return None if not isinstance(every, int) else int((layer + 1) % every != 0)


def _sparse(section: Section, layer: int) -> Kind:
    """Qwen's mixtures: layers that are not listed have experts, every n-th one."""
    every = section.get("decoder_sparse_step")
    return None if not isinstance(every, int) or every < 1 else DENSE if (layer + 1) % every else _SPARSE


def _interleaved(section: Section, layer: int) -> Kind:
    every = section.get("interleave_moe_layer_step")
    return None if not isinstance(every, int) or every < 1 else DENSE if (layer + 1) % every else _SPARSE


def _leading(key: str) -> Callable[[Section, int], Kind]:
    def kind(section: Section, layer: int) -> Kind:
        first = section.get(key)
        return None if not isinstance(first, int) else DENSE if layer < first else _SPARSE

    return kind


def _periodic(name: str) -> Callable[[Section, int], Kind]:
    def kind(section: Section, layer: int) -> Kind:
        period, offset = section.get(f"{name}_period"), section.get(f"{name}_offset")
        return None if not isinstance(period, int) or not isinstance(offset, int) else layer % period == offset

    return kind


def _crossing(section: Section, layer: int) -> Kind:
    every = section.get("cross_layer_interval")
    return None if not isinstance(every, int) else layer % every == 0


RULES = (
    Rule("sliding_window_pattern", _sliding, "layer_types"),
    Rule("model_type", _alternating, "layer_types"),
    Rule("global_attn_every_n_layers", _global, "layer_types"),
    Rule("max_window_layers", _windowed, "layer_types"),
    Rule("full_attention_interval", _linear, "layer_types"),
    Rule("no_rope_layer_interval", _rotary, "no_rope_layers"),
    Rule("decoder_sparse_step", _sparse, None),
    Rule("interleave_moe_layer_step", _interleaved, "moe_layers", among=_SPARSE),
    Rule("first_k_dense_replace", _leading("first_k_dense_replace"), "mlp_layer_types"),
    Rule("num_dense_layers", _leading("num_dense_layers"), None),
    Rule("attn_layer_period", _periodic("attn_layer"), None),
    Rule("expert_layer_period", _periodic("expert_layer"), None),
    Rule("cross_layer_interval", _crossing, None),
)
COUNTS_DENSE = frozenset({"first_k_dense_replace", "num_dense_layers"})
"""Rules that can be written again where all dense layers still come first."""
