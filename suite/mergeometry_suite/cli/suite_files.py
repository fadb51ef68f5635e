"""``mergeometry suite tasks``: write a suite as files to compare methods on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.show import Debug, console, plain, plain_errors


def tasks(
    only: Annotated[list[str] | None, typer.Argument(help="Tasks to write; all of the suite by default.")] = None,
    suite: Annotated[
        str, typer.Option(help="text-8, text-14, text-20, vision, vision-6 or language-model.")
    ] = "text-8",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for recipe, tasks, inputs and heads.")] = Path(
        "suite"
    ),
    full: Annotated[bool, typer.Option("--full", help="Merge the full fine-tunes in the cache, not adapters.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed that the experts were trained with.")] = 0,
    habit: Annotated[str, typer.Option(help="With --full: the habit they were trained by.")] = "plain",
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of inputs per split of a task.")] = None,
    debug: Debug = False,
) -> None:
    """Write a suite's recipe and tasks, ready for `mergeometry compare`."""
    with plain_errors(debug):
        from mergeometry_suite.comparison import write_suite

        target = console(err=True)
        folder = write_suite(
            suite,
            output,
            only=only or (),
            full=full,
            limit=limit,
            seed=seed,
            habit=habit,
            progress=lambda text: target.print(plain(text), soft_wrap=True),
        )
        typer.echo(f"mergeometry compare {folder / 'recipe.yaml'} --tasks {folder / 'tasks.yaml'} --methods all")
