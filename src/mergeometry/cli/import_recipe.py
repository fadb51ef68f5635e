"""``mergeometry import-recipe``: a mergekit recipe in our own form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.show import Debug, plain, plain_errors


def import_recipe(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A mergekit recipe, one or several stages.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write, which must not exist; else it is printed.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Print a mergekit recipe in our own form; it reads back to the same merge.

    `mergeometry merge` and `plan` take mergekit's files as they are; this shows what they make of one. Comments name
    what has no effect on the result, with its line.

        mergeometry import-recipe mergekit.yaml

        mergeometry import-recipe mergekit.yaml --output recipe.yaml
    """
    with plain_errors(debug):
        from mergeometry.errors import OutputError
        from mergeometry.recipe.own_form import recipes_in_own_form
        from mergeometry.working_folder import folder_for

        folder = folder_for(".") if output is None else (folder_for(str(output)) / output).parent
        text = recipes_in_own_form(recipe, folder)
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"the recipe cannot be written: {error.strerror}", file=output) from error
        typer.echo(f"wrote {plain(output)}")
