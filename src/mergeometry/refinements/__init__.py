"""Steps that follow any merge of a matrix, one a file: the file's name is the refinement's name in a recipe.

``mergeometry.refinements.SVC`` and the like are found by class name, so a new file needs no line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        # Loaded on demand: refinements need torch, and listing their names does not.
        registry = import_module("mergeometry.refinements.registry")
        for refinement in registry.names():
            found = registry.find(refinement)
            if found.__name__ == name:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
