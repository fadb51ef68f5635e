"""Builds a recipe from a file or from options, the same for every command that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.show import wrong_usage
from mergeometry.methods.registry import names

if TYPE_CHECKING:
    from mergeometry.recipe import Recipe

RecipeFile = Annotated[
    Path | None, typer.Argument(metavar="RECIPE", help="A YAML recipe; or give --base, --model and --method.")
]
Base = Annotated[str | None, typer.Option("--base", help="The pre-trained base: a folder or a .safetensors file.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A fine-tuned model or a LoRA adapter of the base (repeatable)."),
]
MethodName = Annotated[
    str | None, typer.Option("--method", help=f"How to merge: {', '.join(names())}; `mergeometry methods` explains.")
]


def recipe_from(
    file: Path | None, base: str | None, models: list[str] | None, method: str | None, overrides: list[str] | None
) -> Recipe:
    """Read the recipe, or build one from the options; giving both is wrong usage."""
    from mergeometry.recipe import load_recipe

    if file is not None:
        if base or models or method:
            wrong_usage("give a RECIPE, or --base, --model and --method; to change a recipe's key use --set")
        return load_recipe(file, overrides or ())
    missing = [flag for flag, given in (("--base", base), ("--model", models), ("--method", method)) if not given]
    if missing:
        wrong_usage(f"without a RECIPE, {', '.join(missing)} must be given too")
    return load_recipe({"base": base, "models": models, "method": method}, overrides or ())
