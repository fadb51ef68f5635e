"""Chooses the encoder of a base model, from the recipe or from the model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mergeometry.encoders.base import Encoder
from mergeometry.errors import DataError
from mergeometry.recipe.adapt import EncoderOptions
from mergeometry.sources import Checkpoint


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


def build_encoder(base: Checkpoint, options: EncoderOptions, device: torch.device) -> Encoder:
    """Build the base model as an encoder.

    Raises:
        DataError: transformers is missing or cannot build the model, or the kind is unknown.
        MismatchError: the names on disk are not the model's.
    """
    folder, kind = base.path, kind_of(options, base.config)
    if not folder.is_dir():
        raise DataError("the encoder needs the base's folder with its config.json", file=folder)
    if kind == "text":
        from mergeometry.encoders.text import TextEncoder  # noqa: PLC0415

        # Sentence encoders are trained with the mean over tokens.
        pooling = options.pooling or "mean"
        return TextEncoder(folder, base.tensors, pooling=pooling, max_length=options.max_length, device=device)
    if kind == "image":
        from mergeometry.encoders.image import ImageEncoder  # noqa: PLC0415

        return ImageEncoder(folder, base.tensors, pooling=options.pooling or "first", device=device)
    if kind == "causal":
        from mergeometry.encoders.causal import CausalEncoder  # noqa: PLC0415

        return CausalEncoder(folder, base.tensors, max_length=options.max_length, device=device)
    from mergeometry.encoders.seq2seq import Seq2SeqEncoder  # noqa: PLC0415

    return Seq2SeqEncoder(folder, base.tensors, max_length=options.max_length, device=device)
