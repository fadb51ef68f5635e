"""Commands that are imported when they are run; until then a line of help stands for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mergeometry.errors import printable

if TYPE_CHECKING:
    from typer import Context


class Later(TyperCommand):
    """Stands for a command in the list of all, and becomes it when it is run or its own help is asked for."""

    def __init__(self, name: str, help_: str, load: Callable[[], Any]) -> None:
        super().__init__(name, help=help_)
        self._load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Context:
        """The context of the command itself, which the group then runs."""
        command = built(self._load(), str(self.name))
        try:
            return cast("Context", command.make_context(info_name, args, parent, **extra))
        except Exception as error:
            # The parser's own errors, whose place differs between versions of typer, name the option as it was given.
            if isinstance(text := getattr(error, "message", None), str):
                error.message = printable(text)  # type: ignore[attr-defined]
            raise


def built(command: Any, name: str, **options: Any) -> Any:
    """What typer makes of a command's function, or of a `typer.Typer` with commands of its own, under this name."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_nothing)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name, **options)(command)
    return cast(TyperGroup, get_command(app)).commands[name]


def _nothing() -> None:
    """Makes a group of one command."""
