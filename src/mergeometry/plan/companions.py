"""Compares what comes next to the weights: modules, tokenizers, chat templates and configurations."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.plan.choices import Choice
from mergeometry.plan.matching import Match
from mergeometry.plan.modules import differing_modules
from mergeometry.recipe import Recipe
from mergeometry.sources import Adapter, Checkpoint


def compare_companions(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> tuple[list[str], list[str]]:
    """Why the inputs' files do not fit together, one sentence for each reason, and what a user should know of them."""
    reasons: list[str] = []
    notes: list[str] = []
    config = Choice("config", recipe.config)
    for model in models:
        config.sorted_in(list(differing_modules(config, base, model)), reasons, notes)
        if model.label == recipe.config and isinstance(model, Checkpoint):
            reasons.extend(_unmerged_modules(base, model))
    return reasons, notes


def _unmerged_modules(base: Checkpoint, chosen: Checkpoint) -> list[str]:
    """A configuration cannot name modules whose weights the output does not have, or leave out some that it has."""
    own, theirs = ({part.folder for part in one.parts if part.prefix} for one in (chosen, base))
    return [
        f"config: {chosen.label!r} cannot be chosen: the module {path!r} with weights is in "
        f"{'the base' if path in theirs else 'that model'} only"
        for path in sorted(own ^ theirs)
    ]
