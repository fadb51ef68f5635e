"""Reading a recipe from YAML 1.2 or a mapping, with what the command line changes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mergeometry.errors import RecipeError, listed
from mergeometry.recipe.files import Read, read_given, resolved
from mergeometry.recipe.overrides import override, with_key
from mergeometry.recipe.passthrough import with_base
from mergeometry.recipe.recipe import Recipe
from mergeometry.recipe.scale import ScaleGrid
from mergeometry.recipe.strict import explain

_TO_BE_FOUND = "a base to be found"
"""What a recipe without a base holds in its place until one is found."""


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    changes: Mapping[str, Any] | None = None,
    find_base: Callable[[Recipe], Recipe] | None = None,
) -> Recipe:
    """Read a recipe from a YAML file or a mapping; paths in a file are relative to its folder.

    ``overrides`` are ``key=value`` texts with dotted keys, such as ``method.rank=8`` or ``models.0.weight=0.5``; values
    are YAML. ``changes`` maps dotted keys to values, which are set first. ``find_base`` gives a recipe that names no
    base the one that its models name.

    Raises:
        RecipeError: the file cannot be read, a key is unknown (the error names the nearest), or a value does not fit.
    """
    read = read_given(source)
    given = read.given
    for key, value in (changes or {}).items():
        given = with_key(given, key, value, Recipe)
    for text in overrides:
        given = override(given, text, Recipe)
    file = None if isinstance(source, Mapping) else Path(source)
    if find_base is None or with_base(given).get("base") is not None or not given.get("models"):
        return recipe_of(replace(read, given=given), file, read.located)
    return find_base(recipe_of(replace(read, given={**given, "base": _TO_BE_FOUND}), file, read.located))


def recipe_of(read: Read, file: Path | None, located: Callable[[str], str] | None) -> Recipe:
    """Check a recipe as it was read, and give the paths of its models as ``located`` does.

    Raises:
        RecipeError: a key is unknown, or a value does not fit.
    """
    recipe = _validate(read.given, file)
    recipe._notes, recipe._origins = read.notes, read.origins
    if located is not None:
        recipe = recipe.with_paths(located)
    if file is None:
        return recipe
    folder = file.parent
    adapt = recipe.adapt and recipe.adapt.with_paths(lambda path: resolved(path, folder))
    data = recipe.data and recipe.data.with_paths(lambda path: resolved(path, folder))
    search = recipe.search and recipe.search.with_paths(lambda path: resolved(path, folder))
    changed: dict[str, Any] = {"adapt": adapt, "data": data, "search": search}
    if isinstance(recipe.scale, ScaleGrid):
        changed["scale"] = recipe.scale.model_copy(update={"tasks": resolved(recipe.scale.tasks, folder)})
    return recipe.model_copy(update=changed)


def _validate(given: Mapping[str, Any], file: Path | None) -> Recipe:
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        reasons = explain(error, Recipe, {})
        raise RecipeError(listed("the recipe is not usable:", reasons), file=file) from error
