"""What a configuration says of single layers, and what it must say of a stack of layers from several models.

| keys | form |
| --- | --- |
| `layer_types`, `mlp_layer_types`, `no_rope_layers`, ... | a list with an item for each layer |
| `mlp_only_layers`, `moe_layers`, `cross_attention_layers`, ... | a list of the numbers of some layers |
| `sliding_window_pattern`, `decoder_sparse_step`, `first_k_dense_replace`, ... | a rule on a layer's number |

A rule seldom holds for layers that were renumbered. Where it does not, the list that stands for it is written, or the
stack is refused. Source: the configuration files of Transformers 5.23, and its version 4 for rules without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Section = Mapping[str, Any]
Kind = Any

LISTS = (
    "layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "attention_layers", "layer_rope_theta",
    "indexer_types", "compress_ratios", "num_key_value_heads_per_layer", "num_attention_heads_per_layer",
    "activation_sparsity_pattern", "intermediate_size", "ffn_multipliers", "num_query_heads", "num_kv_heads",
    "block_configs", "hybrid_override_pattern",
)  # fmt: skip
"""Keys that may hold an item for each layer; `hybrid_override_pattern` is a text of a letter for each."""
NUMBERS = (
    "mlp_only_layers", "moe_layers", "cross_attention_layers", "full_attn_idxs", "attn_layer_indices",
    "hybrid_layer_ids", "local_layer_ids",
)  # fmt: skip
"""Keys that may hold the numbers of some layers."""
_TIED_TO_THE_END = ("num_kv_shared_layers", "num_last_full_attention_layers", "kv_source_layers")
"""Keys by which layers use what other layers computed, so that none can be moved."""
_DENSE, _SPARSE = "dense", "sparse"
_SLIDING, _FULL = "sliding_attention", "full_attention"


class _Rule(NamedTuple):
    """A rule on a layer's number, and the key that replaces it."""

    key: str
    kind: Callable[[Section, int], Kind]
    """What the rule makes of a layer; None where the configuration has no such rule."""
    instead: str | None
    """The key of `LISTS` or `NUMBERS` that says the same by layers, and wins over the rule."""
    among: Kind = None
    """For a key of `NUMBERS`, the kind of the layers that it lists."""


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
    return None if not isinstance(every, int) or every < 1 else _DENSE if (layer + 1) % every else _SPARSE


def _interleaved(section: Section, layer: int) -> Kind:
    every = section.get("interleave_moe_layer_step")
    return None if not isinstance(every, int) or every < 1 else _DENSE if (layer + 1) % every else _SPARSE


def _leading(key: str) -> Callable[[Section, int], Kind]:
    def kind(section: Section, layer: int) -> Kind:
        first = section.get(key)
        return None if not isinstance(first, int) else _DENSE if layer < first else _SPARSE

    return kind


def _periodic(name: str) -> Callable[[Section, int], Kind]:
    def kind(section: Section, layer: int) -> Kind:
        period, offset = section.get(f"{name}_period"), section.get(f"{name}_offset")
        return None if not isinstance(period, int) or not isinstance(offset, int) else layer % period == offset

    return kind


def _crossing(section: Section, layer: int) -> Kind:
    every = section.get("cross_layer_interval")
    return None if not isinstance(every, int) else layer % every == 0


_RULES = (
    _Rule("sliding_window_pattern", _sliding, "layer_types"),
    _Rule("model_type", _alternating, "layer_types"),
    _Rule("global_attn_every_n_layers", _global, "layer_types"),
    _Rule("max_window_layers", _windowed, "layer_types"),
    _Rule("full_attention_interval", _linear, "layer_types"),
    _Rule("no_rope_layer_interval", _rotary, "no_rope_layers"),
    _Rule("decoder_sparse_step", _sparse, None),
    _Rule("interleave_moe_layer_step", _interleaved, "moe_layers", among=_SPARSE),
    _Rule("first_k_dense_replace", _leading("first_k_dense_replace"), "mlp_layer_types"),
    _Rule("num_dense_layers", _leading("num_dense_layers"), None),
    _Rule("attn_layer_period", _periodic("attn_layer"), None),
    _Rule("expert_layer_period", _periodic("expert_layer"), None),
    _Rule("cross_layer_interval", _crossing, None),
)
_COUNTS_DENSE = frozenset({"first_k_dense_replace", "num_dense_layers"})
"""Rules that can be written again where all dense layers still come first."""

FOLLOWING = frozenset({*LISTS, *NUMBERS, *(rule.key for rule in _RULES), "attention_types"}) - {"model_type"}
"""Keys that follow the layers, and so may differ between the models of one stack."""


class LayerSettingsError(ValueError):
    """A configuration cannot describe a stack; ``key`` is the one that stands in the way."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class Layer(NamedTuple):
    """One layer of a stack: the section of its model's configuration, how many layers that counts, its number there."""

    section: Section
    among: int
    number: int


def kinds(layer: Layer) -> tuple[Kind, ...]:
    """Everything that a configuration says of one layer alone, in a fixed order."""
    section = layer.section
    listed = [_item(section, key, layer) for key in LISTS]
    numbered = [layer.number in section[key] if isinstance(section.get(key), list) else None for key in NUMBERS]
    ruled = [None if _is_replaced(rule, section, layer.among) else rule.kind(section, layer.number) for rule in _RULES]
    return *(str(item) for item in listed), *numbered, *ruled


def stacked_settings(layers: Sequence[Layer]) -> dict[str, Any]:
    """The keys that the first layer's section must have, with their new values, to describe all layers in this order.

    Raises:
        LayerSettingsError: no value of a key describes them.
    """
    first, count = layers[0].section, layers[0].among
    for key in _TIED_TO_THE_END:
        if first.get(key):
            raise LayerSettingsError(key, "layers use what other layers computed, so none can be moved")
    _refuse_unknown(first, count)
    settings: dict[str, Any] = {}
    for key in LISTS:
        if _is_listed(first, key, count):
            items = [_required(key, layer) for layer in layers]
            settings[key] = "".join(items) if isinstance(first[key], str) else items
    for key in NUMBERS:
        if isinstance(first.get(key), list):
            settings[key] = [
                place for place, layer in enumerate(layers) if layer.number in _required_numbers(key, layer)
            ]
    if isinstance(first.get("attention_types"), list):  # GPT-Neo: [[kinds in turn, times], ...]
        settings["attention_types"] = [[[_expanded(layer)[layer.number] for layer in layers], 1]]
    for rule in _RULES:
        if rule.kind(first, 0) is not None and not _is_replaced(rule, first, count):
            settings |= _ruled(rule, layers)
    return {key: value for key, value in settings.items() if value != first.get(key)}


def _ruled(rule: _Rule, layers: Sequence[Layer]) -> dict[str, Any]:
    """Keys under which the layers are what a rule made of them where they come from; none where it still holds."""
    first = layers[0].section
    wanted = [rule.kind(layer.section, layer.number) for layer in layers]
    if rule.key == "decoder_sparse_step":
        dense = [_DENSE if layer.number in (layer.section.get("mlp_only_layers") or ()) else None for layer in layers]
        wanted = [one or other for one, other in zip(dense, wanted, strict=True)]
        held = [rule.kind(first, place) for place in range(len(layers))]
        if all(one == other for one, other, listed in zip(wanted, held, dense, strict=True) if listed is None):
            return {}
        return {"decoder_sparse_step": 1, "mlp_only_layers": [n for n, kind in enumerate(wanted) if kind == _DENSE]}
    moved = next((n for n, kind in enumerate(wanted) if kind != rule.kind(first, n)), None)
    if moved is None:
        return {}
    if rule.instead in LISTS and rule.key not in _COUNTS_DENSE and None not in wanted:
        return {rule.instead: wanted}
    if rule.instead in NUMBERS:
        return {rule.instead: [n for n, kind in enumerate(wanted) if kind == rule.among]}
    if rule.key in _COUNTS_DENSE:
        leading = next((n for n, kind in enumerate(wanted) if kind != _DENSE), len(wanted))
        if _DENSE not in wanted[leading:]:
            return {rule.key: leading}
    raise LayerSettingsError(
        rule.key,
        f"layer {layers[moved].number} would be layer {moved} of the stack, where this rule makes another kind of it "
        f"({rule.kind(first, moved)} in place of {wanted[moved]})",
    )


def _is_replaced(rule: _Rule, section: Section, count: int) -> bool:
    """Whether a list by layers says what the rule would."""
    if rule.instead in LISTS:
        return _is_listed(section, rule.instead, count)
    return rule.instead is not None and isinstance(section.get(rule.instead), list)


def _is_listed(section: Section, key: str, count: int) -> bool:
    value = section.get(key)
    kind = str if key == "hybrid_override_pattern" else list
    return isinstance(value, str | list) and isinstance(value, kind) and len(value) >= count


def _item(section: Section, key: str, layer: Layer) -> Any:
    return section[key][layer.number] if _is_listed(section, key, layer.among) else None


def _required(key: str, layer: Layer) -> Any:
    if not _is_listed(layer.section, key, layer.among):
        raise LayerSettingsError(key, "one model's configuration lists it by layers, and another's does not")
    return layer.section[key][layer.number]


def _required_numbers(key: str, layer: Layer) -> Sequence[int]:
    value = layer.section.get(key)
    if not isinstance(value, list):
        raise LayerSettingsError(key, "one model's configuration has it, and another's does not")
    return value


def _expanded(layer: Layer) -> list[Any]:
    try:
        return [kind for kinds_in_turn, times in layer.section["attention_types"] for kind in kinds_in_turn * times]
    except (KeyError, TypeError, ValueError) as error:
        raise LayerSettingsError("attention_types", "is not a list of [kinds, times]") from error


def _refuse_unknown(section: Section, count: int) -> None:
    """Refuse a list that looks as if it had an item for each layer and is not known."""
    for key, value in section.items():
        named = "layer" in key or "pattern" in key or "block" in key
        if named and key not in FOLLOWING and isinstance(value, list) and len(value) == count:
            raise LayerSettingsError(key, "may have an item for each layer, and is not known")
