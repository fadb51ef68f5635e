"""``mergeometry evaluate``: one model scored on tasks, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.options import spread
from mergeometry.cli.run_options import ScoringDevice, check_device_name
from mergeometry.cli.show import Debug, Json, console, plain, plain_errors

if TYPE_CHECKING:
    from mergeometry.comparison.generation import Generation


@spread
def evaluate(
    where: AccessOptions,
    model: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A model's folder, or its name on the hub: merged, fine-tuned or the base."),
    ],
    tasks: Annotated[Path, typer.Option("--tasks", help="A YAML file of tasks: heads and labelled inputs.")],
    base: Annotated[
        str | None, typer.Option("--base", help="The base of an adapter, or of weights without a tokenizer.")
    ] = None,
    generate: Annotated[
        bool,
        typer.Option(
            "--generate", help="Language models: also score next-token predictions and the texts that the model writes."
        ),
    ] = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Of a merge's output: keep the scores beside it, for `mergeometry report` and `diff`."
        ),
    ] = False,
    device: ScoringDevice = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score one model on the test inputs of every task.

        mergeometry evaluate merged --tasks tasks.yaml

        mergeometry evaluate merged --tasks tasks.yaml --save

    With --save the scores go into DIR-report/evaluation.json: `mergeometry report DIR` shows them on the merge's page,
    and `mergeometry diff` compares them with those of another merge.
    """
    with plain_errors(debug):
        check_device_name(device)
        from mergeometry.comparison.evaluate import evaluate as score
        from mergeometry.comparison.tasks_file import load_tasks
        from mergeometry.plan.prepared import local_model

        read = load_tasks(tasks)
        with fetching(hidden=as_json) as show:
            folder = local_model(model, "the model", where.access, show)
            base_folder = None if base is None else local_model(base, "base", where.access, show)
        digest = ""
        if save:
            from mergeometry.inspection.own_folder import page_folder, refuse_foreign_folder
            from mergeometry.sink import read_record

            digest = read_record(folder).digest
            refuse_foreign_folder(page_folder(folder), [folder])
        evaluation = score(folder, read, base_folder, generate=generate, device=device)
        if save:
            _save(evaluation.to_json(), folder, digest, str(tasks))
        if as_json:
            typer.echo(json.dumps(evaluation.to_json(), indent=1))
            return
        from rich.table import Table

        table = Table("task", title=plain(model), title_justify="left")
        table.add_column("inputs", justify="right")
        table.add_column("accuracy, %" if evaluation.measure == "accuracy" else "perplexity", justify="right")
        factor = 100 if evaluation.measure == "accuracy" else 1
        for task, value in evaluation.tasks.items():
            score_and_error = f"{factor * value:.2f} ± {factor * evaluation.spread[task]:.2f}"
            table.add_row(plain(task), str(evaluation.inputs[task]), score_and_error)
        table.add_section()
        table.add_row("mean", str(sum(evaluation.inputs.values())), f"{factor * evaluation.mean:.2f}")
        console().print(table)
        if evaluation.generation is not None:
            console().print(_written(evaluation.generation))
        for note in evaluation.notes:
            console().print(f"note: {plain(note)}")


def _save(scores: dict[str, Any], output: Path, digest: str, tasks: str) -> None:
    """Keep the scores beside the output that they are of."""
    from mergeometry.inspection.kept_scores import kept_evaluation
    from mergeometry.inspection.own_folder import EVALUATION, page_folder, write_files

    content = kept_evaluation(scores, digest, tasks)
    write_files(page_folder(output), {EVALUATION: json.dumps(content, indent=1) + "\n"})


def _written(generation: dict[str, Generation]) -> Any:
    from rich.table import Table

    table = Table(
        "task",
        title="tokens of the texts found; greedy continuations, compared with the texts' own",
        title_justify="left",
    )
    for column in ("found, %", "prompts", "tokens", "own", "repeated, %", "own", "distinct, %", "own"):
        table.add_column(column, justify="right")
    for task, one in generation.items():
        figures = [f"{100 * one.found:.1f} ± {100 * one.spread:.1f}", str(one.prompts)]
        figures += [f"{style.tokens:.1f}" for style in (one.written, one.real)]
        for pair in ((one.written.repeated, one.real.repeated), (one.written.distinct, one.real.distinct)):
            figures += ["" if value is None else f"{100 * value:.1f}" for value in pair]
        table.add_row(plain(task), *figures)
    return table
