"""Which tensors of the base go into an adapter, by the recipe's globs."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from mergeometry.errors import RecipeError
from mergeometry.recipe import AdapterOutput
from mergeometry.words import nearest


def chosen(wanted: AdapterOutput, names: Sequence[str]) -> set[str]:
    """The tensors that `include` and `exclude` leave in; a glob may name a tensor, or its module.

    Raises:
        RecipeError: a glob matches nothing.
    """
    included, excluded = (_matched(key, getattr(wanted, key), names) for key in ("include", "exclude"))
    kept = (included if wanted.include else set(names)) - excluded
    if not kept:
        raise RecipeError("output.adapter: `include` and `exclude` leave nothing in")
    return kept


def _matched(key: str, globs: Sequence[str], names: Sequence[str]) -> set[str]:
    matched = set[str]()
    for glob in globs:
        hits = {name for name in names if fnmatchcase(name, glob) or fnmatchcase(name.rpartition(".")[0], glob)}
        if not hits:
            hint = nearest(glob, [name.rpartition(".")[0] for name in names])
            raise RecipeError(f"output.adapter.{key}: {glob!r} matches no tensor or module of the base{hint}")
        matched |= hits
    return matched
