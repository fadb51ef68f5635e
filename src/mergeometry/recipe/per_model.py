"""Which parameters a recipe may give each model for itself: those that its methods declare so."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from mergeometry.recipe.parts import ModelEntry
from mergeometry.words import nearest

_KEYS = ("path", "name", "weight", "stack")


def refuse_unknown(models: Sequence[ModelEntry], methods: Iterable[str]) -> None:
    """Refuse a key of a model that no method of the recipe takes for each model.

    Raises:
        ValueError: there is one; the error names the nearest that there are.
        RecipeError: no method has one of the names.
    """
    given = [(place, key) for place, entry in enumerate(models) for key in entry.own]
    if not given:
        return
    # Found by name, as methods are: they need torch, which a recipe without such keys does not.
    registry = importlib.import_module("mergeometry.methods.registry")
    names = list(dict.fromkeys(methods))
    taken = list(dict.fromkeys(parameter for name in names for parameter in registry.find(name).per_model))
    for place, key in given:
        if key not in taken:
            none = "" if taken else f" ({', '.join(names)}: no parameter may differ per model)"
            raise ValueError(f"unknown key 'models.{place}.{key}'{nearest(key, [*_KEYS, *taken])}{none}")
