"""Tells what kind of model a configuration describes: one of texts, images or language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

ModelKind = Literal["text", "image", "causal", "seq2seq"]


def kind_of_config(config: Mapping[str, Any] | None) -> ModelKind | None:
    """The kind of model by its architecture's name and its configuration's keys; None where they do not say."""
    config = config or {}
    named = config.get("architectures")
    architectures = " ".join(str(one) for one in named) if isinstance(named, list) else ""
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    if architectures.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if "image_size" in config or "patch_size" in config or "num_channels" in config:
        return "image"
    return "text" if "vocab_size" in config else None
