"""Compares what comes next to the weights: modules, tokenizers, chat templates and configurations."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.plan.choices import Choice
from mergeometry.plan.configurations import changed_settings, mixed_labels, other_settings, unnamed_labels
from mergeometry.plan.matching import Match
from mergeometry.plan.modules import differing_modules
from mergeometry.plan.tokenizers import moved_tokens, template_remarks, tokenizer_of, tokenizer_remarks
from mergeometry.recipe import Recipe
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.files import naming_model


def compare_companions(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> tuple[list[str], list[str]]:
    """Why the inputs' files do not fit together, one sentence for each reason, and what a user should know of them.

    Raises:
        SourceError: a tokenizer's file is malformed.
    """
    reasons, notes = _compare_configurations(recipe, base, models, matches)
    unfit, remarks = _compare_tokenizers(recipe, base, models)
    return [*reasons, *unfit], [*notes, *remarks]


def _compare_configurations(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> tuple[list[str], list[str]]:
    reasons: list[str] = []
    notes: list[str] = []
    choice = Choice("config", recipe.config)
    for model in models:
        found = [*changed_settings(choice, base, model), *differing_modules(choice, base, model)]
        choice.sorted_in(found, reasons, notes)
        notes.extend(other_settings(base, model))
        if model.label == recipe.config:
            reasons.extend(_unfit_choice(base, model))
    choice.sorted_in(list(mixed_labels(choice, base, models, matches)), reasons, notes)
    notes.extend(unnamed_labels(choice, base, models))
    return reasons, notes


def _compare_tokenizers(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter]
) -> tuple[list[str], list[str]]:
    reasons: list[str] = []
    notes: list[str] = []
    vocabulary = recipe.vocabulary and recipe.vocabulary.named
    choice = Choice("tokenizer", vocabulary)
    template = Choice("chat_template", recipe.chat_template or vocabulary)
    with naming_model(base.label):
        expected = tokenizer_of(base)
    for model in models:
        with naming_model(model.label):
            own = tokenizer_of(model)
            if own is not None and expected is not None:
                choice.sorted_in(list(moved_tokens(choice, model.label, own, expected)), reasons, notes)
                notes.extend(tokenizer_remarks(model.label, own, expected))
            elif own is not None and choice.name is None:
                notes.append(f"{model.label}: has a tokenizer, and the base none; `tokenizer: {model.label}` takes it")
            notes.extend(template_remarks(template, model.label, own, expected))
        if vocabulary == model.label and own is None:
            reasons.append(f"tokenizer: {model.label!r} has no tokenizer in its folder")
        if recipe.chat_template == model.label and (own is None or not own.template):
            reasons.append(f"chat_template: {model.label!r} has no chat template in its folder")
    return reasons, notes


def _unfit_choice(base: Checkpoint, chosen: Checkpoint | Adapter) -> list[str]:
    """A configuration must describe the tensors that are written, its modules included."""
    if isinstance(chosen, Adapter) or chosen.config is None:
        return [f"config: {chosen.label!r} has no config.json in its folder"]
    own, theirs = ({part.folder for part in one.parts if part.prefix} for one in (chosen, base))
    return [
        f"config: {chosen.label!r} cannot be chosen: the module {path!r} with weights is in "
        f"{'the base' if path in theirs else 'that model'} only"
        for path in sorted(own ^ theirs)
    ]
