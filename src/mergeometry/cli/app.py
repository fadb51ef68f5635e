"""Assembles the commands, each imported when it is run, so that ``--help`` answers at once."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from mergeometry.cli.commands import Commands
from mergeometry.cli.signals import stop_on_signals
from mergeometry.cli.streams import output_in_words, settle_streams

app = typer.Typer(
    name="mergeometry",
    cls=Commands,
    help="Merge fine-tuned models and LoRA adapters of one base by the geometry of their weight updates.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # the list of commands answers before rich's Markdown and tracebacks would be loaded
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("mergeometry"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Merge fine-tuned models and LoRA adapters of one base by the geometry of their weight updates."""


def main() -> None:
    """Run the command line; the console script ``mergeometry``."""
    settle_streams()
    stop_on_signals()
    with output_in_words():
        try:
            app()
        finally:
            gc.freeze()  # as it ends, Python would search all of torch for garbage: half as long as importing it takes
