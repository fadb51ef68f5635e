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

from collections.abc import Sequence
from typing import Any, NamedTuple

from mergeometry.conventions.layer_rules import COUNTS_DENSE, DENSE, RULES, Kind, Rule, Section

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

FOLLOWING = frozenset({*LISTS, *NUMBERS, *(rule.key for rule in RULES), "attention_types"}) - {"model_type"}
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
    ruled = [None if _is_replaced(rule, section, layer.among) else rule.kind(section, layer.number) for rule in RULES]
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
    for rule in RULES:
        if rule.kind(first, 0) is not None and not _is_replaced(rule, first, count):
            settings |= _ruled(rule, layers)
    return {key: value for key, value in settings.items() if value != first.get(key)}


def _ruled(rule: Rule, layers: Sequence[Layer]) -> dict[str, Any]:
    """Keys under which the layers are what a rule made of them where they come from; none where it still holds."""
    first = layers[0].section
    wanted = [rule.kind(layer.section, layer.number) for layer in layers]
    if rule.key == "decoder_sparse_step":
        dense = [DENSE if layer.number in (layer.section.get("mlp_only_layers") or ()) else None for layer in layers]
        wanted = [one or other for one, other in zip(dense, wanted, strict=True)]
        held = [rule.kind(first, place) for place in range(len(layers))]
        if all(one == other for one, other, listed in zip(wanted, held, dense, strict=True) if listed is None):
            return {}
        return {"decoder_sparse_step": 1, "mlp_only_layers": [n for n, kind in enumerate(wanted) if kind == DENSE]}
    moved = next((n for n, kind in enumerate(wanted) if kind != rule.kind(first, n)), None)
    if moved is None:
        return {}
    if rule.instead in LISTS and rule.key not in COUNTS_DENSE and None not in wanted:
        return {rule.instead: wanted}
    if rule.instead in NUMBERS:
        return {rule.instead: [n for n, kind in enumerate(wanted) if kind == rule.among]}
    if rule.key in COUNTS_DENSE:
        leading = next((n for n, kind in enumerate(wanted) if kind != DENSE), len(wanted))
        if DENSE not in wanted[leading:]:
            return {rule.key: leading}
    raise LayerSettingsError(
        rule.key,
        f"layer {layers[moved].number} would be layer {moved} of the stack, where this rule makes another kind of it "
        f"({rule.kind(first, moved)} in place of {wanted[moved]})",
    )


def _is_replaced(rule: Rule, section: Section, count: int) -> bool:
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
