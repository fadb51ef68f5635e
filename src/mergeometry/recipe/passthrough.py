"""Recipes that copy one model, whose base is that model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeometry.recipe.parts import as_method

PASSTHROUGH = "passthrough"


def with_base(given: Any) -> Any:
    """A recipe as it was given, with its one model for a base where the method only copies and no base is named."""
    if not isinstance(given, Mapping) or given.get("base") is not None:
        return given
    method, models = as_method(given.get("method")), given.get("models")
    name = method.get("name") if isinstance(method, Mapping) else None
    if name != PASSTHROUGH or not isinstance(models, list | tuple) or len(models) != 1:
        return given
    (model,) = models
    base = model.get("path") if isinstance(model, Mapping) else model
    if isinstance(model, Mapping) and "stack" in model:
        base = {"stack": model["stack"]}
    return {**given, "base": base}
