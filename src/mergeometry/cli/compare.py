"""``mergeometry compare``: methods scored on labelled tasks."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.access import AccessOptions, fetching
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
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, size, wrong_usage
from mergeometry.grouping import grouped
from mergeometry.progress import about, duration
from mergeometry.words import counted

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
            _print_plan(dry_run(setup, scale_values, count), as_json)
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
            _print(comparison)
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


def _print(comparison: Comparison) -> None:
    from rich.table import Table

    from mergeometry.cli.left_out import left_out_table
    from mergeometry.report.comparison import figure, kept, percent, points, summary
    from mergeometry.report.left_out import left_out_sentences
    from mergeometry.report.regret import least_regret, regret_tables

    title = f"{len(comparison.seen)} experts merged {len(comparison.rows)} ways; test {comparison.measure}"
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    columns = ["gain kept, %", "behind", "mean", "of experts, %", "worst task", "scale", "kept at 1", "s", "MB"]
    for column in [*columns, *(["unseen, against base"] if comparison.unseen else [])]:
        table.add_column(column, justify="right")
    table.add_row("experts", "100", "", figure(comparison, comparison.mean_of(comparison.experts)), "100")
    table.add_section()
    for row in comparison.rows:
        best = row.at_best
        unseen = f"{points(comparison, best.unseen_gain)} ± {points(comparison, best.unseen_spread)}"
        table.add_row(
            plain(row.name), kept(best.gain_kept, best.spread),
            f"{points(comparison, row.behind)} ± {points(comparison, row.behind_spread)}",
            figure(comparison, best.mean),
            percent(best.normalised), f"{plain(best.worst)} {percent(best.worst_normalised)}", f"{row.best_scale:g}",
            kept(row.at_one.gain_kept, row.at_one.spread), f"{row.seconds:.1f}", f"{row.memory / 1e6:.0f}",
            *([unseen] if comparison.unseen else []),
        )  # fmt: skip
    table.add_section()
    table.add_row("base", "0", "", figure(comparison, comparison.mean_of(comparison.base)))
    target = console()
    target.print(table)
    for table in regret_tables(comparison):
        shown = Table(f"{table.title}: loses", title="Scales without labels, against the validated one")
        for column in ("on average", "at worst"):
            shown.add_column(column, justify="right")
        for rule, mean, worst in zip(table.rules, table.mean, table.worst, strict=True):
            shown.add_row(rule, mean, worst)
        target.print(shown)
    if comparison.left_out:
        target.print(left_out_table(comparison))
    for sentence in [
        *summary(comparison),
        *left_out_sentences(comparison),
        least_regret(comparison),
        f"Took {duration(comparison.seconds)}.",
    ]:
        if sentence:
            target.print(plain(sentence), soft_wrap=True)
    for note in grouped(comparison.notes):
        target.print(f"note: {plain(note)}")


def _print_plan(estimate: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(estimate, indent=1))
        return
    target = console()
    target.print(f"compares {plain(', '.join(estimate['entries']))}")
    target.print(
        f"at {counted(len(estimate['scales']), 'scale')}: {', '.join(f'{scale:g}' for scale in estimate['scales'])}"
    )
    for split, counts in estimate["inputs"].items():
        target.print(f"{split}: {plain(', '.join(f'{task} {count:,}' for task, count in counts.items()))}")
    if estimate["unseen"]:
        target.print(f"unseen: {plain(', '.join(estimate['unseen']))}")
    for note in grouped(estimate["notes"]):
        target.print(f"note: {plain(note)}")
    target.print(
        f"merges {estimate['merges']} tensors by every method into at most {size(estimate['scratch_bytes'])} of "
        f"scratch space; with {counted(estimate['workers'], 'worker')} {about(estimate['seconds'])} "
        f"and at most {size(estimate['memory_bytes'])} of memory",
        soft_wrap=True,
    )
