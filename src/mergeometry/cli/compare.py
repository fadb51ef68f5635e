"""``mergeometry compare``: methods scored on labelled tasks."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.comparison_printed import print_comparison, print_estimate
from mergeometry.cli.events import LogForm, LogOption, Steps, compared, events, started
from mergeometry.cli.executor import ExecutorOptions
from mergeometry.cli.options import spread
from mergeometry.cli.progress import Show, progress
from mergeometry.cli.recipes import RecipeOptions, recipe_from
from mergeometry.cli.run_options import (
    DirectionsLimitOption,
    DirectionsOption,
    MemoryLimitOption,
    ScoringDevice,
    check_device_name,
    chosen_folder,
)
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, wrong_usage

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison
    from mergeometry.comparison.setup import Setup


@spread
def compare(
    recipe: RecipeOptions,
    where: AccessOptions,
    on: ExecutorOptions,
    methods: Annotated[
        str,
        typer.Option(help="Comma-separated names such as `tsv_m, ties(density=0.1)`, a .yaml list, or all."),
    ] = "all",
    tasks: Annotated[Path | None, typer.Option("--tasks", help="A YAML file of tasks: heads, labelled inputs.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results, tables, curves and the page.")
    ] = Path("comparison"),
    scales: Annotated[
        str | None, typer.Option(help="first:last:step or a list; by default twelve from 0.1 to 3.")
    ] = None,
    rules: Annotated[
        str, typer.Option(help="Rules for scales without labels to score as well: all, or comma-separated names.")
    ] = "",
    leave_out: Annotated[
        str, typer.Option(help="Models not to merge, comma-separated; their tasks count as unseen.")
    ] = "",
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Merge again without each model, and say what the others gain by it."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core, none for a short comparison.")
    ] = None,
    memory_limit: MemoryLimitOption = None,
    device: ScoringDevice = "auto",
    directions: DirectionsOption = None,
    directions_limit: DirectionsLimitOption = None,
    log: LogOption = LogForm.TEXT,
    plan: Annotated[bool, typer.Option("--plan", help="Show what it would take, without reading a weight.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Merge by many methods, score each at every scale, and show what each keeps of its experts.

        mergeometry compare recipe.yaml --methods all --tasks tasks.yaml

        mergeometry compare --base B --model A --model C --head 'classifier.*' --tasks tasks.yaml

    No merged model is written. Scores are kept in the output folder as soon as they are known: the same command
    continues where it was interrupted, and with another method or scale it computes only that one.
    """  # fmt: skip
    with events(log) as written, plain_errors(debug, written), ExitStack() as stack:
        hidden = quiet or as_json or written is not None
        if written is not None:
            written("started", started("compare"), output=str(output))
        check_device_name(device)
        if tasks is None:
            wrong_usage("--tasks says what to score on; docs/comparing.md shows a file")
        from mergeometry.comparison.entries import read_entries
        from mergeometry.comparison.leave_one_out import check_enough_models, with_models_left_out
        from mergeometry.comparison.own_folder import refuse_foreign_folder
        from mergeometry.comparison.rules import read_rules
        from mergeometry.comparison.run import run_comparison
        from mergeometry.comparison.scales import read_scales
        from mergeometry.comparison.setup import set_up
        from mergeometry.comparison.tasks_file import load_tasks
        from mergeometry.plan.prepared import local_recipe

        given = recipe_from(recipe, offline=where.offline)
        entries, everything = read_entries(methods)
        scale_values, scale_rules = read_scales(scales), read_rules(rules)
        left_out = [name.strip() for name in leave_out.split(",") if name.strip()]
        with fetching(hidden=hidden, events=written) as show:
            given = local_recipe(given, where.access, show).recipe
        folder = chosen_folder(directions, directions_limit)
        setup = set_up(
            given, entries, load_tasks(tasks), left_out, everything=everything, device=device, directions=folder
        )
        if leave_one_out:
            check_enough_models(setup)
        refuse_foreign_folder(output, setup.plans[0].inputs)
        executor = stack.enter_context(on.chosen_executor.opened())
        if plan:
            from mergeometry.comparison.dry_run import core_seconds, dry_run, peak_memory
            from mergeometry.execution.workers import workers_within

            count = workers_within(
                workers, core_seconds(setup, scale_values), partial(peak_memory, setup), memory_limit=memory_limit,
                executor=executor,
            )  # fmt: skip
            print_estimate(dry_run(setup, scale_values, count), as_json)
            return
        with progress("starting", hidden=hidden, timed=False) as show:
            say = None if show is None else partial(_say, show)
            say = say if written is None else Steps(written, "scored")
            comparison = run_comparison(
                setup, output, scale_values, rules=scale_rules, workers=workers, say=say, memory_limit=memory_limit,
                executor=executor,
            )  # fmt: skip
            if leave_one_out:

                def without(name: str) -> Setup:
                    return set_up(
                        given,
                        entries,
                        load_tasks(tasks),
                        [*left_out, name],
                        everything=everything,
                        device=device,
                        directions=folder,
                    )

                comparison = with_models_left_out(
                    comparison, setup, without, output, scale_values, workers=workers, say=say,
                    memory_limit=memory_limit, executor=executor,
                )  # fmt: skip
        _write(comparison, output)
        if written is not None:
            written("published", compared(comparison), output=str(output))
        if as_json:
            typer.echo(json.dumps(comparison.to_json(), indent=1))
        elif not hidden:
            print_comparison(comparison)
            console().print(f"page: {plain(output / 'index.html')}", soft_wrap=True)


def _say(show: Show, text: str, done: int, total: int) -> None:
    show(text[-56:], done, total, count=f"{done}/{total}")


def _write(comparison: Comparison, output: Path) -> None:
    from mergeometry.comparison.own_folder import PAGES
    from mergeometry.report.comparison import comparison_markdown
    from mergeometry.report.comparison_page import comparison_page
    from mergeometry.report.curves import curves_svg
    from mergeometry.sink import versions

    version = versions()["mergeometry"]
    texts = (
        json.dumps(comparison.to_json(), indent=1) + "\n",
        comparison_markdown(comparison),
        curves_svg(comparison) + "\n",
        comparison_page(comparison, version),
    )
    for name, text in zip(PAGES, texts, strict=True):
        # Each file is replaced in one step, so that a reader never sees half of it.
        staged = output / f".{name}.{os.getpid()}"
        staged.write_text(text, "utf-8")
        staged.replace(output / name)
