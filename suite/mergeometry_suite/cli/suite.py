"""``mergeometry suite``: list the real tasks, and retrain their experts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mergeometry.cli.show import Debug, Json, console, plain, plain_errors
from mergeometry_suite.cli.suite_files import tasks as write_tasks
from mergeometry_suite.cli.suite_vision import train_vision
from mergeometry_suite.cli.training import Seed, train_each

suite = typer.Typer(name="suite", help="The real tasks, and the experts trained on them.", no_args_is_help=True)
suite.command("tasks")(write_tasks)
suite.command("train-vision")(train_vision)


@suite.command("list")
def list_(as_json: Json = False, debug: Debug = False) -> None:
    """List the tasks with their experts' scores, from their provenance files."""
    with plain_errors(debug):
        from mergeometry_suite.command import SUITES, list_tasks
        from mergeometry_suite.vision.command import list_vision_tasks, load_vision_expert
        from mergeometry_suite.vision.tasks import VISION_SUITES

        rows = [_row(task, _record(task.name), SUITES) for task in list_tasks("text-20")]
        rows += [_row(task, load_vision_expert(task.name).provenance, VISION_SUITES) for task in list_vision_tasks()]
        if as_json:
            typer.echo(json.dumps(rows, indent=1))
            return
        from rich.table import Table

        table = Table("task", "suites", "what is asked", "classes", "base", "expert", "data from", "licence")
        for row in rows:
            table.add_row(
                plain(row["task"]), ", ".join(row["suites"]), plain(row["title"]), str(row["classes"]),
                _score(row["base"]), _score(row["expert"]), plain(row["source"]), plain(row["licence"]),
            )  # fmt: skip
        console().print(table)


def _record(name: str) -> dict[str, Any] | None:
    """The record of a text expert; none of one that does not ship and is not trained yet."""
    from mergeometry.errors import DataError
    from mergeometry_suite.command import load_expert

    try:
        return load_expert(name).provenance
    except DataError:
        return None


def _score(score: float | None) -> str:
    return "not trained" if score is None else f"{100 * score:.1f}"


def _row(task: Any, provenance: dict[str, Any] | None, suites: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    scores = provenance["accuracy"] if provenance else None
    return {
        "task": task.name,
        "suites": [suite for suite, names in suites.items() if task.name in names],
        "title": task.title,
        "classes": len(task.classes),
        "base": scores["base"]["test"] if scores else None,
        "expert": scores["expert"]["test"] if scores else None,
        "source": task.source,
        "licence": task.licence,
    }


@suite.command()
def train(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to train; all of --suite by default.")] = None,
    suite_name: Annotated[
        str, typer.Option("--suite", help="The text suite whose tasks are trained where none is named.")
    ] = "text-14",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the experts, one folder per task. [default: in the cache]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train the whole encoder, not an adapter.")] = False,
    seed: Seed = 0,
    habit: Annotated[
        str,
        typer.Option(
            help="With --full: how others train: plain, weight-decay, strong-decay, low-rate, few-steps, many-steps, "
            "bfloat16 or folded, each into a folder of its own."
        ),
    ] = "plain",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Retrain experts, minutes per task on one core; finished tasks are left alone."""
    with plain_errors(debug):
        from mergeometry.errors import DataError
        from mergeometry_suite.command import ADAPTER, adapter_folder, find_task, list_tasks, train_expert
        from mergeometry_suite.habits import PLAIN, habit_folder, habit_form

        if habit != PLAIN and not full:
            raise DataError(f"the habit {habit!r} is of full fine-tunes", hint="add --full, or leave --habit out")
        names = tasks or [task.name for task in list_tasks(suite_name)]
        if full:
            form, place = habit_form(habit), output or habit_folder(habit, seed)
        else:
            form, place = ADAPTER, output or adapter_folder(seed)
        regime = replace(form.regime, seed=seed)
        train_each(
            names,
            find_task,
            lambda name, say: train_expert(name, place / name, say, form=form, regime=regime, overwrite=overwrite),
        )


@suite.command("train-joint")
def train_joint(
    name: Annotated[str, typer.Option("--suite", help="The text suite whose tasks are trained together.")] = "text-8",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the model. [default: in the cache]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Train one encoder on all tasks of a suite together: the ceiling for every merge of their experts."""
    with plain_errors(debug):
        from mergeometry_suite.command import list_tasks
        from mergeometry_suite.joint import joint_folder
        from mergeometry_suite.joint import train_joint as train

        train_each(
            [name], list_tasks, lambda suite, say: train(suite, output or joint_folder(suite), say, overwrite=overwrite)
        )


@suite.command("train-language-model")
def train_language_model(
    domains: Annotated[list[str] | None, typer.Argument(help="Domains to train; all by default.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the experts, one folder per domain.")
    ] = Path("language-experts"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again what is there already.")] = False,
    debug: Debug = False,
) -> None:
    """Retrain the language model's experts, minutes per domain on one core; finished ones are left alone."""
    with plain_errors(debug):
        from mergeometry_suite.language_model.command import find_domain, list_domains, train_language_expert

        names = domains or [domain.name for domain in list_domains()]
        train_each(
            names,
            find_domain,
            lambda name, say: train_language_expert(name, output / name, say, overwrite=overwrite),
        )
