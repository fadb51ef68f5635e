"""Tells what kind of model a base is, from the recipe or from the model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeometry.errors import DataError
from mergeometry.recipe.adapt import EncoderOptions


def kind_of(options: EncoderOptions, config: Mapping[str, Any] | None) -> str:
    """The kind of model: text, image, causal or seq2seq.

    Raises:
        DataError: neither the recipe nor the configuration says which.
    """
    if options.kind != "auto":
        return options.kind
    config = config or {}
    architectures = " ".join(config.get("architectures") or [])
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    if architectures.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if "image_size" in config or "patch_size" in config or "num_channels" in config:
        return "image"
    if "vocab_size" in config:
        return "text"
    raise DataError(
        "the base's config.json does not say what kind of model it is",
        hint="write encoder: {kind: text | image | causal | seq2seq}",
    )
