"""Tells what kind of model a base is, from the recipe or from the model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeometry.conventions.model_kinds import kind_of_config
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import EncoderOptions


def kind_of(options: EncoderOptions, config: Mapping[str, Any] | None) -> str:
    """The kind of model: text, image, causal or seq2seq.

    Raises:
        DataError: neither the recipe nor the configuration says which.
    """
    if options.kind != "auto":
        return options.kind
    if (kind := kind_of_config(config)) is not None:
        return kind
    raise DataError(
        "the base's config.json does not say what kind of model it is",
        hint="write encoder: {kind: text | image | causal | seq2seq}",
    )
