"""``mergeometry transplant``: another model's tokenizer onto a model."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.options import spread
from mergeometry.cli.progress import merging
from mergeometry.cli.recipes import DTYPES
from mergeometry.cli.run_options import WriteOptions
from mergeometry.cli.show import Debug, Json, Quiet, console, plain, plain_errors, size, wrong_usage
from mergeometry.grouping import grouped
from mergeometry.progress import duration
from mergeometry.working_folder import folder_for

RULES = ("nearest", "omp", "mean")


@spread
def transplant(
    run: WriteOptions,
    where: AccessOptions,
    model: Annotated[str, typer.Option("--model", help="The model that gets another tokenizer.")],
    donor: Annotated[str, typer.Option("--donor", help="The model whose tokenizer it gets, of any architecture.")],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            metavar="|".join(RULES),
            help="Rows of tokens that the model lacks: by the nearest common tokens in the donor's table, by "
            "orthogonal matching pursuit there, or the mean of the rows of the model's own tokens for the same text.",
        ),
    ] = "nearest",
    neighbours: Annotated[
        int | None, typer.Option("--neighbours", help="Common tokens that such a row is made of, for the first two; 8.")
    ] = None,
    pad: Annotated[
        int | None, typer.Option("--pad-to-multiple-of", help="Round the rows of the tables up to a multiple of this.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="|".join(DTYPES), help="The precision of the output.")
    ] = "base",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put the tokenizer of another model onto a model: its tables of embeddings get that vocabulary.

        mergeometry transplant --model M --donor D --output M-with-tokens-of-D

        mergeometry transplant --model M --donor D --rule mean --dry-run

    Rows of tokens that both have are copied, whatever the two write for a space; the others are combined from the
    model's own rows. All else of the model stays as it is. Tokens of a text change, so that such a model needs some
    training before it is as good as it was; texts of common tokens run as before.
    """
    with plain_errors(debug):
        if run.output is None and not dry_run:
            wrong_usage("--output says where to write; --dry-run writes nothing")
        if rule not in RULES:
            wrong_usage(f"--rule is one of {', '.join(RULES)}, not {rule!r}")
        from mergeometry.execution.run import execute
        from mergeometry.plan.prepared import prepared_plan
        from mergeometry.recipe.files import anchored_model
        from mergeometry.recipe.transplanting import transplant_recipe
        from mergeometry.sink.replaceable import refuse_taken
        from mergeometry.sink.target import resolved_target

        choices: Any = {"rule": rule, "neighbours": neighbours, "pad_to_multiple_of": pad, "dtype": dtype}
        recipe = transplant_recipe(
            anchored_model(model, folder_for(model)), anchored_model(donor, folder_for(donor)), **choices
        )
        hidden = quiet or as_json
        with fetching(hidden=hidden) as fetched:
            plan = prepared_plan(recipe, where.access, show=fetched)
        if run.output is not None:
            refuse_taken(resolved_target(run.output), overwrite=run.overwrite, inputs=plan.inputs)
        if dry_run:
            head, notes = f"would write {size(plan.bytes_written)}", [*plan.notes, *plan.sidecar_notes()]
            told = {"bytes": plan.bytes_written, "notes": notes}
        else:
            assert run.output is not None
            options: Any = {"workers": run.workers, "overwrite": run.overwrite, "resume": run.resume}
            options["memory_limit"] = run.memory_limit
            with run.chosen_executor.opened() as executor, merging(plan, hidden=hidden) as finished:
                record = execute(plan, run.output, progress=finished, executor=executor, **options)
            notes, told = [*record.warnings, *record.sidecars.notes], record.to_json()
            head = f"wrote {plain(run.output)}: {size(record.totals.bytes_written)}, {duration(record.totals.seconds)}"
        if as_json:
            typer.echo(json.dumps(told, indent=1))
        elif not quiet:
            console().print(head)
            for note in grouped(list(notes)):
                console().print(f"  note: {plain(note)}")
