"""The recipe of a model with another's tokenizer: the merge of a model with itself, into the tokens of a donor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mergeometry.recipe.load import load_recipe
from mergeometry.recipe.recipe import Recipe


def transplant_recipe(
    model: str | Path,
    donor: str | Path,
    *,
    rule: Literal["nearest", "omp", "mean"] = "nearest",
    neighbours: int | None = None,
    pad_to_multiple_of: int | None = None,
    dtype: str = "base",
) -> Recipe:
    """The recipe whose output is ``model`` with the tokenizer of ``donor``.

    Raises:
        RecipeError: a value does not fit.
    """
    tokenizer: dict[str, Any] = {"donor": donor, "missing": rule}
    tokenizer |= {} if neighbours is None else {"neighbours": neighbours}
    tokenizer |= {} if pad_to_multiple_of is None else {"pad_to_multiple_of": pad_to_multiple_of}
    output = {} if dtype == "base" else {"output": {"dtype": dtype}}
    entry = {"path": model, "name": "model"}
    return load_recipe(
        {"base": model, "models": [entry], "method": "task_arithmetic", "tokenizer": tokenizer, **output}
    )
