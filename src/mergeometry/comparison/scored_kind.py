"""Which kinds of models are scored."""

from __future__ import annotations

from mergeometry.encoders.runnable import runnable_kind
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import Checkpoint


def scored_kind(options: EncoderOptions, base: Checkpoint) -> str:
    """The kind of model: text, image or causal.

    Raises:
        DataError: models of this kind are not scored, or a configuration leads to code outside transformers.
    """
    kind = runnable_kind(base, options)
    if kind == "seq2seq":
        raise DataError(
            "encoder-decoder models are not scored",
            file=base.path,
            hint="use a text or image encoder with heads, or a causal language model",
        )
    return kind
