"""Puts the choice of ``method: auto`` into a recipe, which says from then on what was chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mergeometry.conventions.model_kinds import kind_of_config
from mergeometry.errors import RecipeError
from mergeometry.plan.choice_of_method import Facts, Merge, choose_method
from mergeometry.plan.likeness import Sampled, sample
from mergeometry.recipe import AUTO_HEADS, AUTO_METHOD, MethodChoice, Recipe
from mergeometry.recipe.scale import ScaleRule
from mergeometry.sources import Adapter, Checkpoint

Sample = Callable[[Checkpoint, Sequence[Checkpoint | Adapter]], Sampled]
"""Looks at a few weights of models; see `sample`."""


def weights_unread(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> Sampled:
    """What is known of models whose weights are not here yet."""
    return Sampled()


def with_choice(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], look: Sample = sample
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with a method in place of ``auto``, and the reasons; a recipe that names one as it is.

    Keys that the recipe gives stay as they are. Heads that it does not name are found where they are plain.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    if recipe.method.name != AUTO_METHOD:
        return recipe, ()
    seen = look(base, models) if recipe.data is None else Sampled()
    facts = Facts(
        models=len(models),
        adapters=sum(isinstance(model, Adapter) for model in models),
        kind=kind_of_config(base.config),
        likeness=seen.likeness,
        folded=seen.folded,
        inputs=recipe.data is not None,
        learns=recipe.adapt is not None,
        matrices=any(map(_moves_a_matrix, models)),
    )
    choice = choose_method(facts)
    return recipe.model_copy(update=_keys(recipe, choice.merge)), choice.reasons


def refuse_auto(recipe: Recipe) -> None:
    """Refuse ``auto`` where the models are not files.

    Raises:
        RecipeError: the recipe's method is ``auto``.
    """
    if recipe.method.name == AUTO_METHOD:
        raise RecipeError("`method: auto` looks at models in files, and these are in memory", hint="name a method")


def _moves_a_matrix(model: Checkpoint | Adapter) -> bool:
    """Whether a model moves what refinements change, as far as headers tell."""
    if not isinstance(model, Adapter):
        return True
    return bool(model.stacked) or any(not delta.embedding for delta in model.deltas.values())


def _keys(recipe: Recipe, merge: Merge) -> dict[str, Any]:
    """The keys that the recipe does not give."""
    given = recipe.model_fields_set
    keys: dict[str, Any] = {"method": MethodChoice.model_validate(merge.method)}
    if merge.other is not None and "other" not in given:
        keys["other"] = MethodChoice(name=merge.other)
    if "scale" not in given:
        keys["scale"] = ScaleRule() if isinstance(merge.scale, str) else merge.scale
    if merge.refine and "refine" not in given:
        keys["refine"] = tuple(MethodChoice(name=step) for step in merge.refine)
    if "heads" not in given:
        keys["heads"] = AUTO_HEADS
    return keys
