"""What configurations say of single layers, by lists and by rules, and what a stack of layers makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from mergeometry.conventions.layer_settings import Layer, LayerSettingsError, stacked_settings

SLIDING, FULL = "sliding_attention", "full_attention"


def stacked(section: dict[str, Any], count: int, *numbers: int) -> dict[str, Any]:
    """The settings of a stack of these layers of one model."""
    return stacked_settings([Layer(section, count, number) for number in numbers])


def test_lists_by_layers_and_lists_of_numbers_follow() -> None:
    section = {"layer_types": [SLIDING, FULL, SLIDING, FULL], "mlp_only_layers": [0, 3], "no_rope_layers": [1, 1, 1, 0]}
    assert stacked(section, 4, 0, 3, 3, 2) == {
        "layer_types": [SLIDING, FULL, FULL, SLIDING],
        "mlp_only_layers": [0, 1, 2],
        "no_rope_layers": [1, 0, 0, 1],
    }


def test_each_model_of_a_stack_says_what_its_own_layers_are() -> None:
    first, second = {"layer_types": [SLIDING, SLIDING]}, {"layer_types": [FULL, SLIDING, FULL]}
    layers = [Layer(first, 2, 1), Layer(second, 3, 0), Layer(second, 3, 2)]
    assert stacked_settings(layers) == {"layer_types": [SLIDING, FULL, FULL]}


@pytest.mark.parametrize(
    ("section", "numbers", "expected"),
    [
        ({"model_type": "gemma3_text"}, [5, 0], {"layer_types": [FULL, SLIDING]}),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 2}, [0, 1, 0, 1], {}),
        ({"model_type": "gemma2"}, [0, 1, 1, 2], {"layer_types": [SLIDING, FULL, FULL, SLIDING]}),
        ({"model_type": "modernbert"}, [0, 1, 2, 0], {}),
        ({"use_sliding_window": True, "max_window_layers": 4}, [0, 5], {"layer_types": [FULL, SLIDING]}),
        ({"use_sliding_window": False, "max_window_layers": 4}, [0, 5], {}),
        ({"full_attention_interval": 4}, [3], {"layer_types": [FULL]}),
        ({"no_rope_layer_interval": 4}, [3, 0], {"no_rope_layers": [0, 1]}),
        ({"decoder_sparse_step": 2}, [1, 1, 0], {"decoder_sparse_step": 1, "mlp_only_layers": [2]}),
        ({"decoder_sparse_step": 1, "mlp_only_layers": [1]}, [0, 1, 2], {}),
        ({"interleave_moe_layer_step": 2}, [1, 0], {"moe_layers": [0]}),
        ({"first_k_dense_replace": 1}, [0, 0, 3, 4], {"first_k_dense_replace": 2}),
        ({"first_k_dense_replace": 2}, [1, 4, 5], {"first_k_dense_replace": 1}),
    ],
)
def test_rules_are_kept_where_they_hold_and_written_as_lists_where_they_do_not(
    section: dict[str, Any], numbers: list[int], expected: dict[str, Any]
) -> None:
    assert stacked(section, 6, *numbers) == expected


@pytest.mark.parametrize(
    ("section", "numbers", "key"),
    [
        ({"first_k_dense_replace": 1}, [0, 1, 0], "first_k_dense_replace"),
        ({"attn_layer_period": 4, "attn_layer_offset": 2}, [0, 1, 1], "attn_layer_period"),
        ({"cross_layer_interval": 2}, [1], "cross_layer_interval"),
        ({"num_kv_shared_layers": 2}, [0, 1], "num_kv_shared_layers"),
        ({"my_layer_sizes": [1, 2, 3, 4, 5, 6]}, [0, 1], "my_layer_sizes"),
    ],
)
def test_what_no_configuration_can_say_is_refused_by_its_key(
    section: dict[str, Any], numbers: list[int], key: str
) -> None:
    with pytest.raises(LayerSettingsError, match=f"^{key}: ") as caught:
        stacked(section, 6, *numbers)
    assert caught.value.key == key


def test_models_that_say_it_in_different_ways_are_refused() -> None:
    layers = [Layer({"layer_types": [FULL, FULL]}, 2, 0), Layer({"model_type": "qwen2"}, 2, 1)]
    with pytest.raises(LayerSettingsError, match="layer_types: one model's configuration lists it by layers"):
        stacked_settings(layers)


def test_a_mixed_pattern_of_gpt_neo_is_written_out() -> None:
    section = {"attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2}
    assert stacked(section, 4, 1, 3) == {
        "attention_types": [[["local", "local"], 1]],
        "attention_layers": ["local", "local"],
    }
