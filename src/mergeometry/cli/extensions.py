"""Commands that other packages add by entry point, and the error for those that are not installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import typer

from mergeometry.cli.show import plain_errors
from mergeometry.errors import MergeometryError
from mergeometry.words import install_suite

GROUP = "mergeometry.commands"
"""Entry points of this group lead to a command function or to a `typer.Typer`; their names are the commands'."""

_SUITE = {
    "demo": "Merge real experts by several methods, score them, and show how they differ (in mergeometry-suite).",
    "suite": "The real tasks, and the experts trained on them (in mergeometry-suite).",
}
_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_commands(app: typer.Typer) -> None:
    """Add the commands of installed packages; a missing command of the suite says what to install."""
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in sorted(offered):
        command: Any = offered[name].load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    for name in _SUITE.keys() - offered.keys():
        app.command(name, help=_SUITE[name], context_settings=_ANYTHING, add_help_option=False)(_missing(name))


def _missing(name: str) -> Any:
    def command() -> None:
        with plain_errors(debug=False):
            raise MergeometryError(
                f"`mergeometry {name}` is part of mergeometry-suite, which is not installed",
                hint=install_suite(),
            )

    return command
