"""A recipe as every call takes it: a value, a file, a mapping, or its keys as arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from mergeometry.errors import RecipeError
from mergeometry.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement


class RecipeKeys(TypedDict, total=False):
    """A recipe's keys as keyword arguments (docs/recipes.md); ``dtype`` is that of its `output` section."""

    base: str | Path
    models: Sequence[str | Path | Mapping[str, Any]]
    method: Method | str | Mapping[str, Any]
    scale: float | str | Mapping[str, Any]
    other: Method | str | Mapping[str, Any]
    refine: Sequence[Refinement | str | Mapping[str, Any]]
    tensors: Sequence[Mapping[str, Any]]
    heads: Sequence[str]
    adapt: Mapping[str, Any]
    data: Mapping[str, Any]
    search: Mapping[str, Any]
    tokenizer: str | Mapping[str, Any]
    chat_template: str
    config: str
    dequantise: bool
    dtype: str
    seed: int


def with_keys(
    recipe: Recipe | str | Path | Mapping[str, Any] | None, keys: RecipeKeys, *, offline: bool = False
) -> Recipe:
    """Return the recipe with keys of it replaced, and with the base that its models name where it has none.

    Raises:
        RecipeError: there is neither a recipe nor a key of one, the recipe cannot be used, or no base is found.
    """

    def found(recipe: Recipe) -> Recipe:
        from mergeometry.plan.find_base import with_base_found  # noqa: PLC0415  (needed only where there is no base)

        return with_base_found(recipe, offline=offline)

    given: dict[str, Any] = {**keys}
    if recipe is None and not given:
        raise RecipeError("there is no recipe", hint='give one, or models=["...", "..."]')
    if not given:
        return recipe if isinstance(recipe, Recipe) else load_recipe(recipe or {}, find_base=found)
    if recipe is not None:
        given = {**(recipe if isinstance(recipe, Recipe) else load_recipe(recipe, find_base=found)).as_given(), **given}
    if "dtype" in given:
        given["output"] = {**given.get("output", {}), "dtype": given.pop("dtype")}
    return load_recipe(given, find_base=found)
