"""Merge methods, one per file: the file's name is the method's name in a recipe.

``mergeometry.methods.DCMerge`` and the like are found by class name, so a new file needs no line here. Editors and
type checkers read ``__init__.pyi``, which `make stubs` writes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name[:1].isupper():
        # Loaded on demand: methods need torch, and listing their names does not.
        return import_module("mergeometry.methods.registry").attribute(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    names: list[str] = import_module("mergeometry.methods.registry").class_names()
    return names
