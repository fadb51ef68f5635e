"""Compares the models of a stack of layers, as a plan compares its inputs, and says what each stack is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mergeometry.conventions.configurations import differences, plain_configuration
from mergeometry.conventions.layer_settings import FOLLOWING
from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.choices import Choice
from mergeometry.plan.compare import is_base
from mergeometry.plan.folders import passed_over, unread_weights
from mergeometry.plan.tokenizers import moved_tokens, tokenizer_of
from mergeometry.recipe import Recipe
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.stacked import LayerStack

_BY_NUMBER = ("scale_attn_by_inverse_layer_idx", "scale_attn_weights_by_layer")
"""Settings by which a layer computes something else under another number."""


def compare_stacks(
    recipe: Recipe, base: Checkpoint, models: Iterable[Checkpoint | Adapter]
) -> tuple[list[str], list[str]]:
    """Why the models of each stack do not fit together, a sentence for each reason, and what a user should know.

    Raises:
        SourceError: a tokenizer's file is malformed.
    """
    reasons: list[str] = []
    notes: list[str] = []
    for model in (base, *(model for model in models if not is_base(model, base))):
        if isinstance(model, Adapter):
            if base.stack is not None:
                notes.append(f"{model.label}: adapts the stacked base by its new numbers, so it must be of it")
            continue
        if model.stack is None:
            continue
        notes.append(f"{model.label}: {model.stack.described}")
        if not model.stack.runs_as_one:
            continue
        first = model.stack.entries[0].checkpoint
        for other in _others(model.stack):
            reasons.extend(unread_weights(other))
            notes.extend(note for note in passed_over(other) if note not in notes)
            _sort(Choice("config", recipe.config), _settings(model.label, other, first), reasons, notes)
            _sort(
                Choice("tokenizer", recipe.vocabulary and recipe.vocabulary.named),
                _tokens(model.label, other, first),
                reasons,
                notes,
            )
        if "dtype" not in recipe.output.model_fields_set:
            reasons.extend(_precisions(model))
        notes.extend(_by_number(model))
    return reasons, notes


def _others(stack: LayerStack) -> list[Checkpoint]:
    """The stack's models after the first, once each."""
    models = {entry.checkpoint.described: entry.checkpoint for entry in stack.entries}
    return list(models.values())[1:]


def _sort(choice: Choice, found: Iterable[str], reasons: list[str], notes: list[str]) -> None:
    choice.sorted_in(list(found), reasons, notes)


def _settings(label: str, other: Checkpoint, first: Checkpoint) -> Iterator[str]:
    """One sentence on each setting by which a model's layers compute otherwise than in the stack."""
    own, expected = (_without_layers(plain_configuration(model.config or {})) for model in (other, first))
    if own and expected:
        for key, (value, wanted) in differences(own, expected)[0].items():
            yield (
                f"{label}: config.json of {other.path} has {key}: {value}, that of the stack's first entry {wanted}; "
                f"choose whose the output gets: `config: {label}` takes the first entry's"
            )


def _without_layers(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key.rpartition(".")[2] not in FOLLOWING}


def _tokens(label: str, other: Checkpoint, first: Checkpoint) -> Iterator[str]:
    own, expected = tokenizer_of(other), tokenizer_of(first)
    if own is not None and expected is not None:
        choice = Choice("tokenizer", None)
        for text in moved_tokens(choice, str(other.path), own, expected):
            told = text.partition("; choose whose")[0].replace("the base", "the stack's first entry")
            yield f"{label}: {told}; choose whose the output gets: `tokenizer: {label}` takes the first entry's"


def _precisions(model: Checkpoint) -> Iterator[str]:
    """One sentence where the entries of a stack are stored in different precisions."""
    assert model.stack is not None
    codes: dict[int, set[str]] = {}
    for origin in model.stack.origins.values():
        if origin.info.code in MERGEABLE:
            codes.setdefault(origin.entry, set()).add(origin.info.code)
    first = codes.get(0, set())
    for place, found in sorted(codes.items()):
        if not found <= first:
            entry = model.stack.entries[place]
            yield (
                f"{model.label}: {entry.described} is stored in {', '.join(sorted(found))}, the stack's first entry in "
                f"{', '.join(sorted(first))}; set `output.dtype` for the result, such as --dtype bfloat16"
            )


def _by_number(model: Checkpoint) -> Iterator[str]:
    for key in _BY_NUMBER:
        if (model.config or {}).get(key) is True:
            yield f"{model.label}: {key} in config.json scales attention by a layer's number, which is its new one"
