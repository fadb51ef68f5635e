"""``mergeometry suite train-vision``: the vision suite's experts trained anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.show import Debug, console, plain, plain_errors


def train_vision(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to train; all by default.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the experts, one folder a task. [default: vision-experts]"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Train the whole encoder, not an adapter; by default into the cache.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Train the vision experts anew, minutes a task on one core; tasks that are finished already are left alone."""
    with plain_errors(debug):
        from mergeometry.suite.vision.command import (
            ADAPTER,
            FULL,
            find_vision_task,
            full_vision_folder,
            list_vision_tasks,
            train_vision_expert,
        )

        names = tasks or [task.name for task in list_vision_tasks()]
        for name in names:
            find_vision_task(name)  # a misspelt name is refused before the first hour of work
        form, place = (FULL, output or full_vision_folder()) if full else (ADAPTER, output or Path("vision-experts"))
        target = console(err=True)
        for name in names:
            folder = train_vision_expert(
                name,
                place / name,
                lambda text: target.print(plain(text), soft_wrap=True),
                form=form,
                overwrite=overwrite,
            )
            typer.echo(str(folder))
