"""Commands that other packages add by entry point, and the error for those that are not installed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import typer

from mergeometry.cli.later import Later, built
from mergeometry.cli.show import plain_errors
from mergeometry.errors import MergeometryError
from mergeometry.words import install_suite

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mergeometry.commands"
"""Entry points of this group lead to a command function or to a `typer.Typer`; their names are the commands'."""

SUITE = {
    "demo": (
        "Merge eight real experts of one real text encoder by six methods, score the merges, and show how they differ."
    ),
    "suite": "The real tasks, and the experts trained on them.",
}
"""The suite's commands and the first lines of their help, so that `--help` imports neither."""

_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def added_commands() -> dict[str, Any]:
    """The commands of installed packages; a missing command of the suite says what to install."""
    from importlib.metadata import entry_points

    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    commands = {name: _offered(name, offered[name]) for name in sorted(offered)}
    for name in SUITE.keys() - offered.keys():
        options = {
            "help": f"{SUITE[name]} (In mergeometry-suite.)",
            "context_settings": _ANYTHING,
            "add_help_option": False,
        }
        commands[name] = built(_missing(name), name, **options)
    return commands


def _offered(name: str, entry: EntryPoint) -> Later:
    """Stands for a function, whose docstring begins with its line of help, or for a `typer.Typer`."""
    if name in SUITE and entry.module.startswith("mergeometry_suite."):
        return Later(name, SUITE[name], entry.load)
    command = entry.load()
    text = command.info.help if isinstance(command, typer.Typer) else inspect.getdoc(command)
    return Later(name, (text or "").split("\n\n")[0], lambda: command)


def _missing(name: str) -> Any:
    def command() -> None:
        with plain_errors(debug=False):
            raise MergeometryError(
                f"`mergeometry {name}` is part of mergeometry-suite, which is not installed",
                hint=install_suite(),
            )

    return command
