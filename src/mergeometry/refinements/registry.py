"""Finds refinements by name: those of this folder by their files, those of other packages by entry point.

A package offers refinements of its own with an entry point in the group ``mergeometry.refinements``, named as the
refinement, that leads to its class. Names are listed without importing anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mergeometry.registration import Registry

if TYPE_CHECKING:
    from mergeometry.refinements.base import Refinement

GROUP = "mergeometry.refinements"
_REFINEMENTS = Registry(GROUP, "refinement", ("mergeometry.refinements.base", "Refinement"), {"base", "registry"})


def names() -> list[str]:
    """Every refinement that a recipe may name, sorted."""
    return _REFINEMENTS.names()


def find(name: str) -> type[Refinement]:
    """The class of the refinement with this name.

    Raises:
        RecipeError: there is none (the nearest name is given), or a package offers something else under it.
    """
    return _REFINEMENTS.find(name)


def build(name: str, given: Mapping[str, Any]) -> Refinement:
    """The refinement with its parameters set and checked.

    Raises:
        RecipeError: no such refinement, an unknown parameter (the nearest is named), or a value out of range.
    """
    return _REFINEMENTS.build(name, given)
