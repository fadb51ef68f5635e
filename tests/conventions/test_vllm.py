"""Which adapters vLLM loads, by its checks on settings, ranks and names."""

from __future__ import annotations

from typing import Any

import pytest

from mergeometry.conventions.vllm import max_lora_rank, refusals

FACTORS = ["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "base_model.model.lm_head.lora_embedding_B"]


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (3, 8), (16, 16), (17, 32), (300, 320), (512, 512), (513, None)])
def test_the_least_rank_that_holds_an_adapter(rank: int, allowed: int | None) -> None:
    assert max_lora_rank(rank) == allowed


@pytest.mark.parametrize(
    ("config", "tensors", "reason"),
    [
        ({"r": 8, "modules_to_save": ["lm_head"]}, FACTORS, "modules are saved whole"),
        ({"r": 8, "trainable_token_indices": {"embed_tokens": [1]}}, FACTORS, "rows of tokens are saved"),
        ({"r": 8, "bias": "all"}, FACTORS, "biases are saved"),
        ({"r": 8, "use_dora": True}, FACTORS, "it is a DoRA"),
        ({"r": 600}, FACTORS, "its rank 600 is above 512"),
        ({"r": 8}, [*FACTORS, "base_model.model.norm.weight"], "a tensor is no factor"),
    ],
)
def test_what_it_refuses(config: dict[str, Any], tensors: list[str], reason: str) -> None:
    assert refusals(config, tensors) == [reason]
    assert refusals({"r": 8, "bias": "none", "use_rslora": True, "modules_to_save": None}, FACTORS) == []
