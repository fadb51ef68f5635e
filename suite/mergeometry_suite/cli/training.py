"""The steps that all commands which train experts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mergeometry.cli.show import console, plain

Seed = Annotated[int, typer.Option(min=0, help="Seed of the order of the inputs, and of an adapter's first weights.")]
Say = Callable[[str], None]


def train_each(names: Sequence[str], find: Callable[[str], Any], train: Callable[[str, Say], Path]) -> None:
    """Train one expert after another, and print where each is."""
    for name in names:
        find(name)  # a misspelt name is refused before the first hour of work
    target = console(err=True)
    for name in names:
        typer.echo(str(train(name, lambda text: target.print(plain(text), soft_wrap=True))))
