"""Which feature of a text the heads at hand were trained on, where a recipe does not say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mergeometry.errors import SourceError
from mergeometry.recipe.inputs import EncoderOptions, HeadSource
from mergeometry.sources import Adapter, Checkpoint, read_header
from mergeometry.sources.checkpoint import read_config

ARCHITECTURE = "architecture"
"""Key of the metadata of a head's file that names the class of the model it is from."""

_ON_POOLED_OUTPUT = frozenset(
    f"{family}ForSequenceClassification"
    for family in ("Albert", "Bert", "Ernie", "LayoutLM", "MegatronBert", "MobileBert", "RemBert")
)
"""Classes of transformers whose linear head takes the model's pooled output, and not the mean of its tokens."""

_ON_FIRST_TOKEN = frozenset({"DeiTForImageClassification", "ViTForImageClassification"})
"""Classes whose linear head takes the first token, which is the feature of an image unless a recipe says otherwise."""

_TAKES = (
    ("pooler", "the model's pooled output", _ON_POOLED_OUTPUT),
    ("first", "the first token", _ON_FIRST_TOKEN),
)
"""The pooling that a known class was trained with, in words too."""


POOLED_NOTE = (
    "features are the model's pooled output, which the heads' classes take; `encoder: {pooling: mean}` takes the mean "
    "of the tokens"
)


def with_pooling(
    options: EncoderOptions, models: Iterable[Checkpoint | Adapter], heads: Iterable[HeadSource | None]
) -> EncoderOptions:
    """The options with the pooling of the classes that models and heads are of, unless they give one."""
    if options.pooling is not None:
        return options
    configs = [model.config for model in models if isinstance(model, Checkpoint)]
    named = [_architecture(config) for config in configs] + [_class_of(head) for head in heads if head is not None]
    return options.model_copy(update={"pooling": "pooler"}) if set(named) & _ON_POOLED_OUTPUT else options


def pooling_notes(options: EncoderOptions, heads: Mapping[str, HeadSource | None]) -> list[str]:
    """The heads, by task, of classes that take another feature than the pooling that the recipe gives.

    Nothing is noted of a class that is not known, or where no pooling is given.
    """
    if options.pooling is None:
        return []
    classes = {task: named for task, head in heads.items() if head is not None and (named := _class_of(head))}
    return [
        f"{task}: the head of a {named} takes {takes}, and `encoder: {{pooling: {options.pooling}}}` gives it another "
        f"feature, on which its predictions mean nothing: leave `pooling` out, or write `pooling: {pooling}`"
        for task, named in classes.items()
        for pooling, takes, known in _TAKES
        if named in known and pooling != options.pooling
    ]


def head_is_known(config: Mapping[str, Any] | None) -> bool:
    """Whether a model's class has a linear head on the feature that `with_pooling` gives."""
    return _architecture(config) in _ON_POOLED_OUTPUT | _ON_FIRST_TOKEN


def _class_of(head: HeadSource) -> str | None:
    """The class of the model that a head comes from: its file's metadata say it, or its folder's configuration."""
    path = Path(head.path)
    folder = path if path.is_dir() else path.parent
    try:
        if path.is_file() and (name := read_header(path).metadata.get(ARCHITECTURE)):
            return name
        return _architecture(read_config(folder))
    except (SourceError, OSError):
        return None  # whoever reads the head says what is wrong with it


def _architecture(config: Mapping[str, Any] | None) -> str | None:
    architectures = (config or {}).get("architectures")
    return str(architectures[0]) if isinstance(architectures, list) and architectures else None
