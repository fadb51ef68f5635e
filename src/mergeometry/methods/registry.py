"""Finds methods by name: those of this folder by their files, those of other packages by entry point.

A package offers methods of its own with an entry point in the group ``mergeometry.methods``, named
as the method, that leads to its class. Names are listed without importing anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mergeometry.registration import Registry

if TYPE_CHECKING:
    from mergeometry.methods.base import Method

GROUP = "mergeometry.methods"
_METHODS = Registry(GROUP, "method", ("mergeometry.methods.base", "Method"), {"base", "drawing", "registry"})


def names() -> list[str]:
    """Every method that a recipe may name, sorted."""
    return _METHODS.names()


def find(name: str) -> type[Method]:
    """The class of the method with this name.

    Raises:
        RecipeError: there is none (the nearest name is given), or a package offers something else under it.
    """
    return _METHODS.find(name)


def build(name: str, given: Mapping[str, Any]) -> Method:
    """The method with its parameters set and checked.

    Raises:
        RecipeError: no such method, an unknown parameter (the nearest is named), or a value out of range.
    """
    return _METHODS.build(name, given)
