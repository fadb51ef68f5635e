"""Tensors that a model computes from its configuration, and that files hold or lack by the version that wrote them.

| names | what they are |
| --- | --- |
| `*.inv_freq`, `*.rotary_emb.{cos,sin}_cached` | frequencies of rotary positions; files of transformers before 4.32 |
| `*.attn.bias`, `*.attention.bias` of four dimensions | the causal mask of GPT-2, GPT-Neo and GPT-NeoX |
| `*.masked_bias` | the number that GPT-2 and GPT-NeoX put in place of masked scores |
| `*.position_ids` | 0, 1, 2, ... of BERT, CLIP and others; files of transformers before 4.31 |
| `*.token_type_ids` | zeros of RoBERTa and others, likewise |
| `*.relative_position_index` | where Swin and BEiT look up their position biases |
"""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = frozenset(
    {
        "inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "masked_bias", "position_ids", "token_type_ids",
        "relative_position_index",
    }
)  # fmt: skip
_MASKS = frozenset({"attn", "attention", "self_attention", "self_attn"})


def is_computed(name: str, shape: Sequence[int]) -> bool:
    """Whether a model computes the tensor itself, so that a file may lack it."""
    parts = name.split(".")
    if parts[-1] in _NAMES:
        return True
    return parts[-1] == "bias" and len(parts) > 1 and parts[-2] in _MASKS and len(shape) == 4
