"""``mergeometry report``: what became of every model in a merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.inspect import finish, tensors
from mergeometry.cli.on_inputs import InputOptions, measured
from mergeometry.cli.options import spread
from mergeometry.cli.progress import progress
from mergeometry.cli.run_options import MemoryLimitOption
from mergeometry.cli.show import Debug, Json, Quiet, plain_errors


@spread
def report(
    inputs: InputOptions,
    merged: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="What `mergeometry merge` wrote: a folder or a file.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the page and the figures; by default OUTPUT-report."),
    ] = None,
    comparison: Annotated[
        Path | None,
        typer.Option(
            "--comparison",
            metavar="FOLDER",
            help="What `mergeometry compare` wrote: its leaderboard and scale curves join the page.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core, none for small models.")
    ] = None,
    memory_limit: MemoryLimitOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what became of every model in a merge: how much of each update it holds, and in which layers.

        mergeometry report merged

        mergeometry report merged --output merged-report --json

        mergeometry report merged --data tasks.yaml

        mergeometry report merged --comparison comparison

    The output's run record says what went in. Where those models still are, every tensor of them and of the output is
    read once; where one is gone, the page stands on the record. With --data, base, experts and merged model also run
    on each task's inputs: how often the merged model predicts as the expert does, with labels or without. With
    --comparison, the page shows how this merge's method and scale did among all that `mergeometry compare` scored.
    Scores that `mergeometry evaluate --save` kept of these weights are shown too. The page (index.html) and the figures
    (inspection.json) go into a folder beside the output; docs/reading-the-report.md explains each figure.
    """
    with plain_errors(debug):
        from mergeometry.inspection.after import report_on
        from mergeometry.inspection.own_folder import page_folder, refuse_foreign_folder

        target = output or page_folder(merged)
        refuse_foreign_folder(target, [merged])
        compared = None
        if comparison is not None:
            from mergeometry.comparison.kept import read_comparison

            compared = read_comparison(comparison)
        figures = None
        if inputs.data is not None:
            from mergeometry.feature_figures.report import figures_of_output

            figures = measured(
                lambda show: figures_of_output(
                    merged, str(inputs.data), limit=inputs.limit, memory_limit=memory_limit, progress=show
                ),
                hidden=quiet or as_json,
            )
        with progress("measuring", hidden=quiet or as_json, timed=True) as show:
            inspection = report_on(merged, workers=workers, memory_limit=memory_limit, progress=tensors(show))
        from mergeometry.feature_figures.scores import with_scores

        inspection = with_scores(inspection, compared, merged)
        finish(inspection, figures, target, as_json=as_json, quiet=quiet)
