"""The options that describe a merge, and the recipe that they and a file make; shared by all commands that take one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.model_arguments import has_recipes_name, is_recipe, weights_of
from mergeometry.cli.show import wrong_usage
from mergeometry.digests import ALGORITHMS
from mergeometry.errors import RecipeError
from mergeometry.methods.registry import names
from mergeometry.working_folder import folder_for

if TYPE_CHECKING:
    from mergeometry.recipe import Recipe

_PANEL = "Recipe keys (with a RECIPE they override its own)"
DTYPES = ("base", "float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class RecipeOptions:
    """A recipe's file, and the keys that hold for a merge and for a comparison of merges."""

    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE|MODEL",
            help="A YAML recipe; or the models themselves, whose base is found where they name it.",
        ),
    ] = None
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help="The pre-trained base: a folder, a .safetensors file, or OWNER/NAME[@REVISION] on the hub; by default "
            "the one that the models name.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="A fine-tuned model or a LoRA adapter of the base (repeatable).", rich_help_panel=_PANEL
        ),
    ] = None
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="NUMBER|NAME=NUMBER",
            help="A model's weight: one per model, in their order, or by the model's name (repeatable).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    other: Annotated[
        str | None,
        typer.Option(
            "--other",
            metavar="METHOD",
            help="How tensors that are not matrices merge: average, rows, ties, ...",
            rich_help_panel=_PANEL,
        ),
    ] = None
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="GLOB",
            help="Tensors that are kept for each model and not merged, such as 'classifier.*' (repeatable); or auto.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="|".join(DTYPES), help="The precision of the result.", rich_help_panel=_PANEL),
    ] = None
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            metavar="|".join(ALGORITHMS),
            help="What every byte read and written is hashed by, for the run record; by default blake3.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other key, such as method.rank=8 or tensors.0.scale=0.5 (repeatable).",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def recipe(self) -> Path | None:
        """The recipe's file, where one is given."""
        given = self.given or []
        if len(given) > 1 and (files := [one for one in given if has_recipes_name(one)]):
            wrong_usage(f"{files[0]} is a recipe: give it alone, or models alone")
        return Path(given[0]) if len(given) == 1 and is_recipe(given[0]) else None

    @property
    def models(self) -> list[str]:
        """The models that the command line names."""
        return [*(() if self.recipe is not None else self.given or ()), *(self.model or ())]


@dataclass(frozen=True)
class MethodOptions:
    """How the models of one merge are merged."""

    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help=f"How to merge: {', '.join(names())}; `mergeometry methods` explains. By default auto, which chooses "
            "by what the models are.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="NUMBER|auto|RULE",
            help="How far to go along the merged update: 0.5, auto, or '{rule: projection, per: tensor}'.",
            rich_help_panel=_PANEL,
        ),
    ] = None


def recipe_from(options: RecipeOptions, how: MethodOptions | None = None, *, offline: bool = False) -> Recipe:
    """Read the recipe with the options' keys in place of its own, or build one from the options alone.

    Without ``how`` the recipe is for a comparison, which brings its own methods. Where no base is given it is the one
    that the models name; ``offline`` looks for that in the hub's cache alone.
    """
    from mergeometry.recipe import load_recipe

    def found(recipe: Recipe) -> Recipe:
        from mergeometry.plan.find_base import with_base_found

        return with_base_found(recipe, offline=offline)

    changes = _changes(options, how)
    if options.recipe is None:
        if how is None:
            changes = {"heads": "auto", **changes, "method": "average"}
        if not options.models:
            wrong_usage("give a RECIPE, or the models to merge: mergeometry merge FIRST SECOND --output merged")
    source, overrides = options.recipe or {}, options.set_ or ()
    recipe = load_recipe(source, overrides, changes=changes, find_base=found)
    if not options.weight:
        return recipe
    weights = weights_of(options.weight, [entry.name for entry in recipe.models])
    return load_recipe(source, overrides, changes={**changes, **weights}, find_base=found)


def _changes(options: RecipeOptions, how: MethodOptions | None) -> dict[str, Any]:
    """The recipe's keys that the options set."""
    changes: dict[str, Any] = {}
    # Paths of a recipe's file are relative to its folder, those of a command line to the current one.
    place = str if options.recipe is None else _from_here
    if options.base is not None:
        changes["base"] = place(options.base)
    if models := options.models:
        changes["models"] = [place(model) for model in models]
    texts = (
        {"other": options.other} if how is None else {"method": how.method, "scale": how.scale, "other": options.other}
    )
    changes |= {key: value_of(f"--{key}", text) for key, text in texts.items() if text is not None}
    if options.head:
        changes["heads"] = "auto" if options.head == ["auto"] else list(options.head)
    if options.dtype is not None:
        changes["output.dtype"] = options.dtype
    if options.digest is not None:
        changes["output.digest"] = options.digest
    return changes


def _from_here(path: str) -> str:
    from mergeometry.recipe.files import anchored_model

    return anchored_model(path, folder_for(path))


def value_of(flag: str, text: str) -> Any:
    """A value as the recipe takes it, in YAML."""
    from mergeometry.recipe.yaml import parse_yaml

    try:
        return parse_yaml(text)
    except RecipeError as error:
        raise RecipeError(f"{flag} {text}: {error.what}", hint=error.hint) from error
