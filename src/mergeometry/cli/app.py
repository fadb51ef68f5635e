"""Assembles the commands, each imported when it is run, so that ``--help`` answers at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from mergeometry.allocator import keep_freed_memory
from mergeometry.cli.commands import Commands
from mergeometry.cli.signals import stop_on_signals
from mergeometry.cli.streams import output_in_words, settle_streams
from mergeometry.deferred import after_loading

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
    with output_in_words(), _own_process():
        app()


@contextmanager
def _own_process() -> Iterator[None]:
    """Make a process quick that ends with the block: memory is kept, and what a library made is never searched.

    Python's last searches for garbage, as it ends, would take half as long as importing torch.
    """
    try:
        with after_loading(keep_freed_memory), after_loading(gc.freeze):
            yield
    finally:
        gc.freeze()
