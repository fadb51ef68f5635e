"""``mergeometry extract``: an adapter out of a fine-tune."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.options import spread
from mergeometry.cli.progress import merging, progress
from mergeometry.cli.recipes import DTYPES, value_of
from mergeometry.cli.run_options import WriteOptions
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, size, wrong_usage
from mergeometry.grouping import grouped
from mergeometry.progress import duration, tensor_by_tensor
from mergeometry.words import counted
from mergeometry.working_folder import folder_for

if TYPE_CHECKING:
    from mergeometry.plan import Plan

_SHOWN = 24
"""Modules up to which each has a line of its own; beyond, a line holds all layers' modules of one kind."""


@spread
def extract(
    run: WriteOptions,
    where: AccessOptions,
    base: Annotated[str, typer.Option("--base", help="The model that the adapter is for: a folder or a file.")],
    model: Annotated[str, typer.Option("--model", help="The fine-tune to take it out of, of the same shapes.")],
    rank: Annotated[
        str,
        typer.Option(
            "--rank",
            metavar="NUMBER|SHARE|auto",
            help="16, or 0.1 for a tenth of each matrix's full rank, or auto: as many as --energy needs.",
        ),
    ],
    energy: Annotated[
        float | None,
        typer.Option("--energy", help="With --rank auto: the share of each update's squared norm to keep; 0.95."),
    ] = None,
    other: Annotated[
        str,
        typer.Option(
            "--other",
            metavar="changed|all|none",
            help="Norms, tables, heads and biases that no factors hold: those that changed are written whole (or the "
            "rows that changed), or all, or none; what is lost is then said.",
        ),
    ] = "changed",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="GLOB", help="Only these modules, such as '*_proj' (repeatable)."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="All but these modules (repeatable).")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="|".join(DTYPES[1:]), help="The precision of the factors; float32.")
    ] = "base",
    modules: Annotated[bool, typer.Option("--modules", help="Print a line for each module, however many.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and print what would be written; write nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take a LoRA adapter out of a fine-tune: its difference from the base, truncated by the singular values.

    At one rank, or with as many directions as keep a share of each matrix's update:

        mergeometry extract --base B --model M --rank 16 --output adapter

        mergeometry extract --base B --model M --rank auto --energy 0.95 --dry-run

    The base may be any model of the same shapes, such as another fine-tune. Nothing that differs is lost in silence:
    norms, heads and tables that changed are written as PEFT stores them, new tokens as rows; with `--other none`
    they are left out, as vLLM needs, and a note says how much of the update they hold.
    """
    with plain_errors(debug), ExitStack() as stack:
        if run.output is None and not dry_run:
            wrong_usage("--output says where to write; --dry-run writes nothing")
        from mergeometry.execution.adapter_survey import surveyed
        from mergeometry.execution.run import execute
        from mergeometry.execution.workers import workers_for
        from mergeometry.plan.adapter_contents import adapter_contents, estimated_energies
        from mergeometry.plan.prepared import prepared_plan
        from mergeometry.recipe.extraction import extraction_recipe
        from mergeometry.recipe.files import anchored_model
        from mergeometry.sink.replaceable import refuse_taken
        from mergeometry.sink.target import resolved_target

        choices: Any = {"energy": energy, "other": other, "include": include or (), "exclude": exclude or ()}
        ends = anchored_model(base, folder_for(base)), anchored_model(model, folder_for(model))
        recipe = extraction_recipe(*ends, value_of("--rank", rank), dtype=dtype, **choices)
        hidden = quiet or as_json
        with fetching(hidden=hidden) as fetched:
            plan = prepared_plan(recipe, where.access, show=fetched)
        if run.output is not None:
            refuse_taken(resolved_target(run.output), overwrite=run.overwrite, inputs=plan.inputs)
        executor = stack.enter_context(run.chosen_executor.opened())
        workers = workers_for(plan, run.workers, run.memory_limit, executor)
        with progress("measuring what changed", hidden=hidden, timed=True) as show:
            advance = None if show is None else tensor_by_tensor(plan, show, "measuring", plan.surveyed_tasks())
            plan = surveyed(plan, workers, advance, spectra=dry_run, executor=executor)
        if dry_run:
            contents, notes = adapter_contents(plan, estimated_energies(plan)), plan.notes
            head = f"would write {size(plan.bytes_written)}"
            if as_json:
                typer.echo(json.dumps({"adapter": contents, "notes": notes}, indent=1))
        else:
            assert run.output is not None
            options: Any = {"workers": run.workers, "overwrite": run.overwrite, "resume": run.resume}
            options |= {"memory_limit": run.memory_limit, "executor": executor}
            with merging(plan, hidden=hidden) as finished:
                record = execute(plan, run.output, progress=finished, **options)
            contents, notes = record.adapter, [*record.warnings, *record.sidecars.notes]
            head = f"wrote {plain(run.output)}: {size(record.totals.bytes_written)}, {duration(record.totals.seconds)}"
            if as_json:
                typer.echo(json.dumps(record.to_json(), indent=1))
        if not as_json and not quiet:
            assert contents is not None
            _print(plan, contents, head, every=modules)
            for note in grouped(list(notes)):
                console().print(f"  note: {plain(note)}")


def _print(plan: Plan, contents: dict[str, Any] | Any, head: str, *, every: bool) -> None:
    from rich.table import Table

    rows = contents["modules"]
    by_kind: dict[str, list[Any]] = {}
    for row in rows:
        name = row["module"] if every or len(rows) <= _SHOWN else re.sub(r"(?<=\.)\d+(?=\.)", "*", row["module"])
        by_kind.setdefault(name, []).append(row)
    table = Table("module", "rank", "of", "energy kept")
    for name, ones in by_kind.items():
        many = f" ({len(ones)})" if len(ones) > 1 else ""
        columns = [_span([one[key] for one in ones]) for key in ("rank", "full_rank")]
        table.add_row(plain(name) + many, *columns, _span([f"{one['energy_kept']:.4f}" for one in ones]))
    target = console()
    if rows:
        target.print(table)
    for name, count in contents["rows"].items():
        target.print(f"{counted(count, 'row')} of {plain(name)}")
    if contents["whole"]:
        shown = ", ".join(contents["whole"][:4]) + (", ..." if len(contents["whole"]) > 4 else "")
        target.print(f"{counted(len(contents['whole']), 'tensor')} whole: {plain(shown)}")
    if contents.get("unchanged"):
        target.print(f"{counted(len(contents['unchanged']), 'tensor')} equal to the base's, not written")
    target.print(f"{head}; {100 * contents['energy_kept']:.4g} % of the squared norm of the update is kept")


def _span(values: list[Any]) -> str:
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least} to {most}"
