"""Which sections of a recipe exclude which; each refusal is a `ValueError` that names the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mergeometry.recipe.scale import ScaleGrid, ScaleRule
from mergeometry.recipe.values import is_varied

if TYPE_CHECKING:
    from mergeometry.recipe.recipe import Recipe


def refuse_learning_without_parts(recipe: Recipe) -> None:
    """Refuse to learn where no part of the merge belongs to one model."""
    if recipe.adapt is None:
        return
    if recipe.refine:
        raise ValueError(
            "refine: a refinement changes the merge as a whole, so no part of it belongs to one model and "
            "`adapt` has nothing to learn: leave one of the two out"
        )
    if recipe.data is not None:
        raise ValueError(
            "data: merging by activations leaves no part that belongs to one model, so `adapt` has nothing "
            "to learn: leave one of the two out"
        )


def refuse_learning_from_many_scales(recipe: Recipe) -> None:
    """Refuse to learn where the scale is not one number for all tensors."""
    if recipe.adapt is None:
        return
    if isinstance(recipe.scale, ScaleGrid):
        raise ValueError("scale: a grid tries merges without learning: give a number, or leave `adapt` out")
    if is_varied(recipe.scale) or (isinstance(recipe.scale, ScaleRule) and recipe.scale.per != "model"):
        raise ValueError(
            "scale: `adapt` learns coefficients, which start at one number for all tensors: give a number, or a "
            "rule per model, in place of a gradient or a rule per tensor, or leave `adapt` out"
        )


def refuse_search_beside_others(recipe: Recipe) -> None:
    """Refuse to search where another section learns, runs the models or tries scales."""
    if recipe.search is None:
        return
    if recipe.adapt is not None:
        raise ValueError("search: it tries merges without learning: leave one of `search` and `adapt` out")
    if recipe.data is not None:
        raise ValueError(
            "search: it tries merges by weights alone, and `data` is for those that run the models first: give "
            "`scale` a grid in place of `search`"
        )
    if isinstance(recipe.scale, ScaleGrid):
        raise ValueError("search: it tries scales itself: give `scale` the number to start from, or `auto`")
