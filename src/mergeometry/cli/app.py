"""Assembles the commands; heavy imports live inside each, so that ``--help`` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from mergeometry.cli.attest import provenance, sign
from mergeometry.cli.compare import compare
from mergeometry.cli.diff import diff
from mergeometry.cli.evaluate import evaluate
from mergeometry.cli.extensions import add_commands
from mergeometry.cli.extract import extract
from mergeometry.cli.import_recipe import import_recipe
from mergeometry.cli.inspect import inspect
from mergeometry.cli.merge import clean, merge
from mergeometry.cli.methods import methods
from mergeometry.cli.mixture import mixture
from mergeometry.cli.plan import plan
from mergeometry.cli.report import report
from mergeometry.cli.signals import stop_on_signals
from mergeometry.cli.streams import output_in_words, settle_streams
from mergeometry.cli.transplant import transplant
from mergeometry.cli.verify import verify

app = typer.Typer(
    name="mergeometry",
    help="Merge fine-tuned models and LoRA adapters of one base by the geometry of their weight updates.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(merge)
app.command()(plan)
app.command()(extract)
app.command()(transplant)
app.command()(inspect)
app.command()(report)
app.command()(mixture)
app.command()(compare)
app.command()(evaluate)
app.command()(methods)
app.command("import-recipe")(import_recipe)
app.command()(diff)
app.command()(verify)
app.command()(provenance)
app.command()(sign)
app.command()(clean)
add_commands(app)


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
        app()
