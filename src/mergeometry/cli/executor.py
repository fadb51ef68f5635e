"""Options for where the work is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.show import wrong_usage

if TYPE_CHECKING:
    from mergeometry.execution.executor import Executor


_PANEL = "On a cluster"


@dataclass(frozen=True)
class ExecutorOptions:
    """Where to compute: in processes of this machine, or on a cluster; neither changes the result."""

    executor: Annotated[
        str,
        typer.Option(
            metavar="local|ray",
            help="Where to compute: this machine, or a Ray cluster (docs/cluster.md). The result is the same.",
            rich_help_panel=_PANEL,
        ),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT|ray://HOST:PORT|local",
            help="The Ray cluster: auto is the one that this machine belongs to, local one of its own.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def chosen_executor(self) -> Executor:
        """The executor of these options."""
        from mergeometry.errors import RecipeError
        from mergeometry.execution.executor import chosen_executor

        try:
            return chosen_executor(self.executor, self.address)
        except RecipeError as error:
            wrong_usage(f"--executor {self.executor}: {error.what}; {error.hint}")
