"""Chooses the encoder of a base model, from the recipe or from the model's configuration."""

from __future__ import annotations

import torch

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import Checkpoint


def build_encoder(base: Checkpoint, options: EncoderOptions, device: torch.device) -> Encoder:
    """Build the base model as an encoder.

    Raises:
        DataError: transformers is missing or cannot build the model, the kind is unknown, or a configuration leads to
            code outside transformers.
        MismatchError: the names on disk are not the model's.
    """
    folder, kind = base.path, runnable_kind(base, options)
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
