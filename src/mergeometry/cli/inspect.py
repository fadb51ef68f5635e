"""``mergeometry inspect``: how the updates lie to each other, before they are merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.executor import ExecutorOptions
from mergeometry.cli.figures import print_inspection
from mergeometry.cli.on_inputs import InputOptions, measured
from mergeometry.cli.options import spread
from mergeometry.cli.progress import progress
from mergeometry.cli.recipes import RecipeOptions, recipe_from
from mergeometry.cli.run_options import MemoryLimitOption
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors
from mergeometry.garbage import uncollected

if TYPE_CHECKING:
    from mergeometry.inspection.on_inputs import OnInputs
    from mergeometry.inspection.result import Inspection
    from mergeometry.progress import Show

FOLDER = Path("inspection")


@spread
def inspect(
    recipe: RecipeOptions,
    where: AccessOptions,
    on: ExecutorOptions,
    inputs: InputOptions,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page and the figures; new, or of an earlier one.")
    ] = FOLDER,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core, none for small models.")
    ] = None,
    memory_limit: MemoryLimitOption = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show how the updates of models lie to each other: who overlaps, who fights, and in which layers.

        mergeometry inspect recipe.yaml

        mergeometry inspect --base B --model A --model C --head 'classifier.*' --output inspection

        mergeometry inspect recipe.yaml --data tasks.yaml

    Every tensor is read once; nothing is merged. With --data, base and experts also run on each task's inputs: what
    each expert changed in its predictions. The page (index.html) and the figures (inspection.json) go into the
    output folder; docs/reading-the-report.md explains each figure. No figure estimates a score: that takes data
    (`mergeometry compare`).
    """
    with plain_errors(debug):
        given = recipe_from(recipe, offline=where.offline)
        from mergeometry.inspection.own_folder import refuse_foreign_folder
        from mergeometry.inspection.run import inspect_plan
        from mergeometry.plan.prepared import prepared_plan

        with fetching(hidden=quiet or as_json) as fetched:
            plan = prepared_plan(given, where.access, show=fetched)
        refuse_foreign_folder(output, plan.inputs)
        hidden = quiet or as_json
        figures = None
        if inputs.data is not None:
            from mergeometry.feature_figures.report import figures_of_plan

            figures = measured(
                lambda show: figures_of_plan(
                    plan, str(inputs.data), limit=inputs.limit, memory_limit=memory_limit, progress=show
                ),
                hidden=hidden,
            )
        with on.chosen_executor.opened() as executor, progress("inspecting", hidden=hidden, timed=True) as show:
            inspection = inspect_plan(
                plan, workers=workers, memory_limit=memory_limit, progress=tensors(show), executor=executor
            )
        finish(inspection, figures, output, as_json=as_json, quiet=quiet)


def tensors(show: Show | None) -> Callable[[str, float, float, str], None] | None:
    """A function that shows each tensor as it is measured."""
    if show is None:
        return None
    return lambda name, done, total, count: show("inspecting", done, total, item=name, count=count)


@uncollected()
def finish(inspection: Inspection, figures: OnInputs | None, output: Path, *, as_json: bool, quiet: bool) -> None:
    """Write the page and the figures, those on inputs too, and print them."""
    from mergeometry.feature_figures.words import with_figures
    from mergeometry.inspection.own_folder import FIGURES, PAGE, write_files
    from mergeometry.report.inspection import inspection_page

    inspection = inspection if figures is None else with_figures(inspection, figures)
    document = inspection.to_json()
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_files(output, {FIGURES: text, PAGE: inspection_page(document)})
    if as_json:
        typer.echo(text, nl=False)
    elif not quiet:
        print_inspection(inspection)
        console().print(f"page: {plain(output / PAGE)}", soft_wrap=True)
