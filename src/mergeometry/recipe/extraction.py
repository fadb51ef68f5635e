"""The recipe of an adapter that is taken out of a fine-tune: the merge of one model, written as an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mergeometry.recipe.load import load_recipe
from mergeometry.recipe.recipe import Recipe


def extraction_recipe(
    base: str | Path,
    model: str | Path,
    rank: int | float | str,
    *,
    energy: float | None = None,
    other: Literal["all", "changed", "none"] = "changed",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dtype: str = "base",
) -> Recipe:
    """The recipe whose output is the adapter that leads from ``base`` to ``model``.

    Raises:
        RecipeError: a value does not fit.
    """
    adapter: dict[str, Any] = {"rank": rank, "other": other}
    adapter |= {} if energy is None else {"energy": energy}
    adapter |= {"include": list(include)} if include else {}
    adapter |= {"exclude": list(exclude)} if exclude else {}
    output = {"adapter": adapter} | ({} if dtype == "base" else {"dtype": dtype})
    return load_recipe({"base": base, "models": [model], "method": "task_arithmetic", "output": output})
