"""Finds methods by name: those of this folder by their files, those of other packages by entry point.

A package offers methods of its own with an entry point in the group ``mergeometry.methods``, named
as the method, that leads to its class. Names are listed without importing anything heavy.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.errors import RecipeError

if TYPE_CHECKING:
    from mergeometry.methods.base import Method

_NOT_METHODS = {"base", "drawing", "registry"}
GROUP = "mergeometry.methods"


def names() -> list[str]:
    """Every method that a recipe may name, sorted."""
    return sorted(set(_own()) | set(_offered()))


def find(name: str) -> type[Method]:
    """The class of the method with this name.

    Raises:
        RecipeError: there is none (the nearest name is given), or a package offers something else under it.
    """
    from mergeometry.methods.base import Method  # noqa: PLC0415

    if name in _own():
        module = importlib.import_module(f"mergeometry.methods.{name}")
        classes = [
            member
            for member in vars(module).values()
            if inspect.isclass(member) and issubclass(member, Method) and member.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise RecipeError(f"methods/{name}.py defines {len(classes)} method classes; it must define one")
        return classes[0]
    if name in _offered():
        offered = _offered()[name].load()
        if not (inspect.isclass(offered) and issubclass(offered, Method) and not inspect.isabstract(offered)):
            raise RecipeError(f"the entry point {name!r} of {GROUP} does not lead to a method class")
        return offered
    raise RecipeError(f"there is no method {name!r}", hint=_nearest(name, names()))


def build(name: str, given: Mapping[str, Any]) -> Method:
    """The method with its parameters set and checked.

    Raises:
        RecipeError: no such method, an unknown parameter (the nearest is named), or a value out of range.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    kind = find(name)
    known = list(inspect.signature(kind).parameters)
    for key in given:
        if key not in known:
            hint = _nearest(key, known) if known else f"{name} has no parameters"
            raise RecipeError(f"method {name!r} has no parameter {key!r}", hint=hint)
    try:
        return kind(**given)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'][:1])}: {problem['msg']}" for problem in error.errors()
        )
        raise RecipeError(f"method {name!r}: {reasons}", hint=f"`mergeometry methods {name}` shows each") from error


def _own() -> list[str]:
    folder = str(Path(__file__).parent)
    return [module.name for module in pkgutil.iter_modules([folder]) if module.name not in _NOT_METHODS]


def _offered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    listed = ", ".join(known)
    return f"did you mean {close[0]!r}? There are: {listed}" if close else f"there are: {listed}"
