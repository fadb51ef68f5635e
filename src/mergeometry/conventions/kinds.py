"""Tells what kind of tensor a weight is, from its name and its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LOOKUP_PARTS = frozenset(
    {"lm_head", "shared", "wte", "wpe", "w", "text_projection", "relative_attention_bias", "embed_out"}
)
"""Whole parts of a dotted name: tables and output layers, but not `shared_expert`, which is a linear map.

`w` is the table of tokens of CTRL, and no linear map in transformers has that name.
"""
_LOOKUP_WORDS = ("embed", "position")
_VOCABULARY_PARTS = frozenset({"lm_head", "shared", "wte", "w"})

_EXPERTS_INPUTS_FIRST = frozenset({"aria", "aria_text", "gpt_oss", "openai_privacy_filter"})
"""Types of model whose experts transformers marks as `is_transposed`."""


def is_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether the tensor is the 2-D weight of a linear map, which directional methods merge."""
    parts = name.split(".")
    return (
        len(shape) == 2
        and min(shape) > 0
        and parts[-1].endswith("weight")
        and _LOOKUP_PARTS.isdisjoint(parts)
        and not any(word in name for word in _LOOKUP_WORDS)
    )


def is_vocabulary(name: str) -> bool:
    """Whether the first dimension of the tensor counts the tokens of a vocabulary."""
    parts = name.split(".")
    return "predictions" in parts or any(part in _VOCABULARY_PARTS or "embed" in part for part in parts)


def experts_inputs_first(config: Mapping[str, Any] | None) -> bool | None:
    """Whether stacked experts are (experts, inputs, outputs), as PEFT takes them; None where that is not known."""
    model_type = None if config is None else config.get("model_type")
    return True if model_type in _EXPERTS_INPUTS_FIRST else None
