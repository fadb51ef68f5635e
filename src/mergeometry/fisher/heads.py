"""The head that each model predicts with: the recipe's, or the model's own where it is clear what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mergeometry.encoders import Encoder
from mergeometry.encoders.heads import StoredHead, find_head
from mergeometry.encoders.language import LanguageModel
from mergeometry.encoders.pooling import head_is_known
from mergeometry.errors import DataError
from mergeometry.plan.plan import Plan
from mergeometry.recipe.data import FISHER, DataSection
from mergeometry.recipe.inputs import HeadSource
from mergeometry.sources import Adapter, Checkpoint

_GIVE = "give the head: data: {tasks: {NAME: {path: texts.jsonl, head: head.safetensors}}}"


def heads_of(plan: Plan, section: DataSection, encoder: Encoder) -> Mapping[str, StoredHead | None]:
    """Each estimated model's head by its label; None for language models, which predict by their output layer.

    Raises:
        DataError: a model has no head that is known to fit, or a language model is given one.
        SourceError: a head's file cannot be read.
    """
    heads: dict[str, StoredHead | None] = {}
    for model in plan.models:
        label, given = model.label, section.tasks[model.label].head
        if label in section.ready_made:
            continue
        if isinstance(encoder, LanguageModel):
            if given is not None:
                raise DataError(
                    "a language model predicts by its own output layer, and not by a head",
                    model=label,
                    hint="leave `head` out",
                )
            heads[label] = None
        else:
            source = given or _own_source(model, pooling=section.encoder.pooling is not None)
            heads[label] = find_head(source, label, encoder.width)
    return heads


def _own_source(model: Checkpoint | Adapter, *, pooling: bool) -> HeadSource:
    """The model's own files, where their head is a linear layer on the feature that the encoder gives."""
    if isinstance(model, Checkpoint) and (model.stack is not None or model.adapter is not None):
        raise DataError(
            "a model that is put together from others has no head of its own", model=model.label, hint=_GIVE
        )
    if not pooling and not (isinstance(model, Checkpoint) and head_is_known(model.config)):
        raise DataError(
            "nothing says which feature the model's own head takes",
            model=model.label,
            file=model.path,
            hint=f"{_GIVE}, or what it takes: data: {{encoder: {{pooling: mean | first | last | pooler}}}}",
        )
    names = model.replaced if isinstance(model, Adapter) else model.tensors
    deep = [name for name in names if _deeper(name.split(".")[:-1])]
    if deep:
        raise DataError(
            f"the model's own head is more than a linear layer: it has {', '.join(map(repr, deep[:3]))}",
            model=model.label,
            file=model.path,
            hint=f"give {FISHER} that was estimated elsewhere: data: {{tasks: {{{model.label}: {{fisher: FILE}}}}}}",
        )
    return HeadSource(path=str(model.path))


def _deeper(parts: Sequence[str]) -> bool:
    """Whether a tensor's module is a part of a head of several layers."""
    return any("classifier" in part for part in parts) and parts[-1] != "classifier"
