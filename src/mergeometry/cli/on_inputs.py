"""Figures on inputs: the options that ask for them, their progress, and their table on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.progress import progress
from mergeometry.cli.show import plain

if TYPE_CHECKING:
    from rich.table import Table

    from mergeometry.inspection.on_inputs import ModelOnInputs, OnInputs, Share, TaskOnInputs

_PANEL = "Figures on inputs"


@dataclass(frozen=True)
class InputOptions:
    """Which inputs the models run on, if any."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="TASKS.yaml",
            help="Run the models on these inputs too: a file of tasks, or `recipe` for the recipe's own inputs.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    limit: Annotated[
        int, typer.Option(min=4, help="Inputs per task at most, evenly spread.", rich_help_panel=_PANEL)
    ] = 256


def measured(run: Callable[[Callable[[str, float, float, str], None] | None], OnInputs], *, hidden: bool) -> OnInputs:
    """What ``run`` measures, while its progress is shown."""
    with progress("running the models", hidden=hidden, timed=True) as show:
        if show is None:
            return run(None)
        return run(lambda name, done, total, count: show("running", done, total, item=name, count=count))


def inputs_table(figures: OnInputs) -> Table:
    """A row per task: how the merged model, or before a merge the base, compares with the task's expert."""
    from rich.table import Table

    after = any(task.merged for task in figures.tasks)
    table = Table(
        title="On your inputs, against each task's expert (95 % interval)", title_justify="left", caption_justify="left"
    )
    table.add_column("task")
    for column in ("inputs", "agreement, %", *after * ("of the base",), "entropy", "of the expert", "CKA"):
        table.add_column(column, justify="right")
    for column in (*after * ("of the base",), "NC1", "of the expert"):
        table.add_column(column, justify="right")
    for task in figures.tasks:
        table.add_row(*_cells(task, task.merged or task.base, after=after))
    return table


def _cells(task: TaskOnInputs, own: ModelOnInputs, *, after: bool) -> list[str]:
    counted = f"{task.inputs}" if task.rows == task.inputs else f"{task.inputs} ({task.rows:,} tokens)"
    cells = [plain(task.name), counted, _share(own.agreement)]
    cells += after * [_share(task.base.agreement)]
    cells += [_figure(own.entropy), _figure(task.expert.entropy), _figure(own.cka_unbiased)]
    cells += after * [_figure(task.base.cka_unbiased)]
    collapses = (own.collapse, task.expert.collapse)
    return cells + [_figure(None if one is None else one.nc1) for one in collapses]


def _share(share: Share | None) -> str:
    return "" if share is None else f"{100 * share.value:.0f} ({100 * share.low:.0f}-{100 * share.high:.0f})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
