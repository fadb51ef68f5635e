"""Refuses, before anything expensive, a base that transformers could run only by code outside the library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mergeometry import limits
from mergeometry.conventions.foreign_code import ATTENTION_KEYS, foreign_code
from mergeometry.encoders.kind import kind_of
from mergeometry.errors import DataError
from mergeometry.recipe.inputs import EncoderOptions
from mergeometry.sources import Checkpoint
from mergeometry.sources.files import read_small
from mergeometry.strict_json import parse_object

_PREPARATION = {"image": ("preprocessor_config.json", "processor_config.json")}
_TOKENIZER = ("tokenizer_config.json",)


def runnable_kind(base: Checkpoint, options: EncoderOptions) -> str:
    """The kind of model that the base is: text, image, causal or seq2seq; nothing is loaded.

    Raises:
        DataError: the kind is unknown, the base is a single file, or a configuration in its folder leads to code
            outside transformers, which is never run.
        SourceError: a configuration cannot be read.
    """
    kind = kind_of(options, base.config)
    if not base.path.is_dir():
        raise DataError("the encoder needs the base's folder with its config.json", file=base.path)
    for name, configuration in _configurations(base, kind):
        for key in foreign_code(configuration):
            raise _refused(base, name, key)
    return kind


def _configurations(base: Checkpoint, kind: str) -> Iterator[tuple[str, Any]]:
    """The configurations that the kind of model is loaded by, the model's own first."""
    yield "config.json", base.config
    for name in _PREPARATION.get(kind, _TOKENIZER):
        path = base.path / name
        if path.is_file():
            raw = read_small(path, base.path, limits.JSON_BYTES, name)
            yield name, parse_object(raw, path, name, nesting=limits.JSON_NESTING, finite=False)


def _refused(base: Checkpoint, name: str, key: str) -> DataError:
    if key in ATTENTION_KEYS:
        own = "name one of its own instead, such as eager"
    else:
        own = f'if transformers has this kind of model itself, run that: delete "{key}" from a copy of the base'
    return DataError(
        f"{name} leads to code outside transformers ({key}), which is never run",
        file=base.path / name,
        hint=f"{own}; a merge that does not run the model needs no change",
    )
