"""Steps that follow any merge of a matrix, one per file: the file's name is the refinement's name in a recipe.

``mergeometry.refinements.SVC`` and the like are found by class name, so a new file needs no line here. Editors and
type checkers read ``__init__.pyi``, which `make stubs` writes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        # Loaded on demand: refinements need torch, and listing their names does not.
        return import_module("mergeometry.refinements.registry").attribute(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    names: list[str] = import_module("mergeometry.refinements.registry").class_names()
    return names
