"""``mergeometry suite train-vision``: retrain the vision suite's experts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.show import Debug, plain_errors
from mergeometry_suite.cli.training import Seed, train_each


def train_vision(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to train; all by default.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the experts, one folder per task. [default: in the cache]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train the whole encoder, not an adapter.")] = False,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Retrain the vision experts, minutes per task on one core; finished tasks are left alone."""
    with plain_errors(debug):
        from mergeometry_suite.vision.command import (
            ADAPTER,
            FULL,
            find_vision_task,
            full_vision_folder,
            list_vision_tasks,
            train_vision_expert,
            vision_adapter_folder,
        )

        names = tasks or [task.name for task in list_vision_tasks()]
        form, place = (
            (FULL, output or full_vision_folder(seed)) if full else (ADAPTER, output or vision_adapter_folder(seed))
        )
        regime = replace(form.regime, seed=seed)
        train_each(
            names,
            find_vision_task,
            lambda name, say: train_vision_expert(
                name, place / name, say, form=form, regime=regime, overwrite=overwrite
            ),
        )
