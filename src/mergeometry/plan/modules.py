"""Compares the sentence-transformers modules of the inputs: what comes after the encoder decides what it embeds."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.conventions.modules import Module, plain_settings
from mergeometry.plan.choices import Choice
from mergeometry.sources import Adapter, Checkpoint


def differing_modules(choice: Choice, base: Checkpoint, model: Checkpoint | Adapter) -> Iterator[str]:
    """One sentence on each module that a model has and the base lacks, or has differently.

    A model without any modules, such as one saved by transformers alone, says nothing about them.
    """
    if isinstance(model, Adapter) or not model.modules:
        return
    own, theirs = [module.kind for module in model.modules], [module.kind for module in base.modules]
    if own != theirs:
        lacking = [kind for kind in own if kind not in theirs]
        what = f"it embeds by {', '.join(own)}, the base by {', '.join(theirs) or 'no modules'}"
        if lacking:
            what = f"its module{'s' * (len(lacking) > 1)} {', '.join(lacking)} {_are(lacking)} not in the base: {what}"
        yield f"{model.label}: {what}; {choice.ways(model.label)}"
        return
    for module, other in zip(model.modules, base.modules, strict=True):
        for key, value, expected in _differences(module, other):
            yield (
                f"{model.label}: its module {module.kind} has {key}: {value}, the base's {expected}; "
                f"{choice.ways(model.label)}"
            )


def _differences(module: Module, other: Module) -> Iterator[tuple[str, object, object]]:
    settings, expected = plain_settings(module.settings), plain_settings(other.settings)
    for key in sorted(settings.keys() | expected.keys()):
        if settings.get(key) != expected.get(key):
            yield key, settings.get(key, "its default"), expected.get(key, "its default")


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"
