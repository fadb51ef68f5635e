"""``mergeometry merge`` and ``mergeometry clean``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.learning import learn, learned_line
from mergeometry.cli.recipes import Base, MethodName, Models, RecipeFile, recipe_from
from mergeometry.cli.show import (
    Debug,
    Json,
    Quiet,
    Set,
    console,
    duration,
    plain,
    plain_errors,
    size,
    spoken_for,
    wrong_usage,
)

if TYPE_CHECKING:
    from mergeometry.plan import Plan, TensorTask


def merge(
    recipe: RecipeFile = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write; it must not exist.")
    ] = None,
    base: Base = None,
    model: Models = None,
    method: MethodName = None,
    set_: Set = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core, none for a small merge.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="Where to learn: auto (a GPU where there is one), cpu, cuda or cuda:1. Merging needs no GPU."
        ),
    ] = "auto",
    executor: Annotated[str, typer.Option(help="Where to compute: local.")] = "local",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where an interrupted run of this recipe stopped.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output in one step.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Merge the models of a recipe into one; the output folder appears whole or not at all.

    With a recipe file:

        mergeometry merge recipe.yaml --output merged

    A recipe with an `adapt:` section learns its coefficients on unlabelled data first (docs/learning.md); with
    `adapt: {accelerate: true}` on several GPUs, started by Accelerate:

        accelerate launch -m mergeometry merge recipe.yaml --output merged

    A recipe with a `data:` section first runs every model on a few unlabelled inputs, for methods that merge by
    activations.

    Without a recipe file:

        mergeometry merge --base B --model A --model C --method dc_merge --output merged
    """
    if output is None:
        wrong_usage("--output says where to write; there is no default")
    if device not in {"auto", "cpu"} and not device.startswith("cuda"):
        wrong_usage(f"--device {device}: the devices are auto, cpu, cuda and cuda:1, cuda:2, ...")
    if executor != "local":
        wrong_usage(f"--executor {executor}: this version has the executor `local` only")
    with plain_errors(debug):
        given = recipe_from(recipe, base, model, method, set_)
        from mergeometry.plan import make_plan

        plan = make_plan(given)
        hidden = quiet or as_json or spoken_for()
        if given.adapt is None:
            _refuse_for_merging(device)
            if given.data is not None:
                from mergeometry.activations.run import merge_on_data as execute
            else:
                from mergeometry.execution.run import execute

            with _bar(plan, hidden) as advance:
                run = execute(plan, output, workers=workers, overwrite=overwrite, resume=resume, progress=advance)
        else:
            run = learn(plan, output, workers=workers, device=device, overwrite=overwrite, resume=resume, hidden=hidden)
        if spoken_for():
            return
        if as_json:
            typer.echo(json.dumps(run.to_json(), indent=1))
        elif not quiet:
            totals, target = run.totals, console()
            target.print(
                f"merged {len(plan.models)} models by {plain(given.method.name)} into {plain(output)}: "
                f"{len(run.tensors)} tensors, {size(totals.bytes_written)}, {duration(totals.seconds)}, "
                f"peak memory {size(totals.peak_memory)}"
            )
            if run.scaling is not None:
                target.print(_scaled_line(run.scaling))
            if run.adapt is not None:
                target.print(learned_line(run.adapt))
            for warning in run.warnings:
                target.print(f"  note: {plain(warning)}")


def _refuse_for_merging(device: str) -> None:
    """Refuse a GPU, and several processes, for a recipe that learns nothing: each would write the same output."""
    if device not in {"auto", "cpu"}:
        wrong_usage(f"--device {device}: only learning computes on a GPU, and the recipe has no `adapt:` section")
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        wrong_usage("several processes were started by a launcher, and the recipe has no `adapt:` section to share")


def _scaled_line(scaling: Mapping[str, Any]) -> str:
    """The scales that a rule gave, in one line."""
    by = f"scale by {scaling['rule']}"
    if scaling["per"] == "model":
        return f"{by}, one for the model: {scaling['median']:.4g}"
    return f"{by}, one per tensor: {scaling['least']:.4g} to {scaling['largest']:.4g}, median {scaling['median']:.4g}"


def clean(
    output: Annotated[Path, typer.Argument(help="The output folder of a merge that was interrupted.")],
    debug: Debug = False,
) -> None:
    """Remove what an interrupted merge left next to its output; a merge that is still running is left alone."""
    with plain_errors(debug):
        from mergeometry.sink import remove_learning, remove_stale

        staged, learned = remove_stale(output), remove_learning(output)
        removed = staged or learned
        typer.echo(f"removed what was staged for {plain(output)}" if removed else "nothing was staged")


@contextmanager
def _bar(plan: Plan, hidden: bool) -> Iterator[Callable[[TensorTask], None] | None]:
    target = console(err=True)
    if hidden or not target.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=target, transient=True) as progress:
        total = sum(task.cost.seconds for task in plan.tasks)
        work = progress.add_task("merging", total=len(plan.ordered()))

        def advance(task: TensorTask) -> None:
            progress.update(work, advance=1, description=f"merging {plain(task.name)[-48:]:>48}")

        progress.update(work, description=f"merging, about {duration(total)} of work")
        yield advance
