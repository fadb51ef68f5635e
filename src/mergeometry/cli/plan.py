"""``mergeometry plan``: the dry run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mergeometry.cli.access import AccessOptions
from mergeometry.cli.events import events
from mergeometry.cli.options import spread
from mergeometry.cli.plan_printed import (
    kind_of,
    print_collecting,
    print_device,
    print_directions,
    print_learning,
    print_plan,
)
from mergeometry.cli.recipes import MethodOptions, RecipeOptions, recipe_from
from mergeometry.cli.run_options import RunOptions
from mergeometry.cli.searching import print_searching
from mergeometry.cli.show import Debug, Json, Quiet, plain_errors
from mergeometry.cli.stages import planned, stages_of
from mergeometry.errors import MismatchError, RecipeError

if TYPE_CHECKING:
    from mergeometry.execution.directions_folder import DirectionsFolder
    from mergeometry.execution.executor import Executor
    from mergeometry.plan import Plan, TensorTask
    from mergeometry.recipe import Recipe


@spread
def plan(
    recipe: RecipeOptions,
    how: MethodOptions,
    run: RunOptions,
    where: AccessOptions,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor with what is done to it.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a merge would read, compute and write, or list every mismatch; no weight is read.

    Of models on the Hugging Face hub, only headers and small files are fetched.

    It takes every option of `mergeometry merge`, and checks the output where one is given:

        mergeometry plan recipe.yaml --scale auto --output merged

        mergeometry plan --base B --model A --model C --method dc_merge --head 'classifier.*' --tensors
    """
    with events(run.log) as written, plain_errors(debug, written):
        run.check()
        executor = run.chosen_executor
        if stages := stages_of(recipe, how):
            run.check_device()
            hidden = as_json or quiet
            plan_one = partial(_of_stage, run=run, executor=executor, where=where, tensors=tensors, hidden=hidden)
            found = planned(stages, run.output or Path("merged"), plan_one, show=not hidden)
            if as_json:
                typer.echo(json.dumps(found, indent=1))
            return
        given = recipe_from(recipe, how, offline=where.offline)
        run.check_device()
        from mergeometry.execution.devices import placement_of, workers_on
        from mergeometry.execution.sidecars import sidecars_of
        from mergeometry.plan.prepared import prepared_plan

        try:
            made = prepared_plan(given, where.access, weights=False)
        except MismatchError as error:
            if as_json:
                typer.echo(json.dumps({"mismatches": error.mismatches}, indent=1))
            raise
        if run.output is not None:
            made = _written_to(made, run.output, overwrite=run.overwrite)
        sidecars_of(made)
        estimates = _learning(made) | _collecting(made)
        placement, refused = placement_of(made, run.device), None
        try:
            with executor.opened() as opened:
                count = workers_on(placement, made, run.workers, run.memory_limit, opened)
        except RecipeError as error:
            count, refused = run.workers or 1, error
        estimates |= _searching(made, count)
        known, saved = _known(made, run.directions_folder, run.output)
        estimates |= known
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        **plan_as_json(made, count, run.memory_limit, run.device, saved),
                        "device": placement.to_json(made.tasks),
                        **estimates,
                    },
                    indent=1,
                )
            )
        elif not quiet:
            print_plan(made, count, tensors, run.memory_limit, run.device, saved)
            print_directions(estimates)
            print_device(made, placement, run.device)
            print_learning(estimates)
            print_collecting(estimates)
            print_searching(estimates)
        if refused is not None:
            raise refused


def _written_to(made: Plan, output: Path, *, overwrite: bool) -> Plan:
    """The plan of an output, which is refused where it may not be written."""
    from mergeometry.plan.single_file import written_to
    from mergeometry.sink.replaceable import refuse_taken
    from mergeometry.sink.target import resolved_target

    made = written_to(made, resolved_target(output))
    refuse_taken(resolved_target(output), overwrite=overwrite, inputs=made.inputs)
    return made


def _known(
    made: Plan, folder: DirectionsFolder | None, output: Path | None
) -> tuple[dict[str, Any], Mapping[str, float]]:
    """What a folder of directions has of a plan, and the seconds that it saves of each tensor."""
    if folder is None:
        return {}, {}
    from mergeometry.execution.directions_plan import known_of

    folder.check(made.inputs if output is None else (*made.inputs, output))
    known = known_of(made, folder)
    return {"directions": known.to_json(folder)}, known.seconds


def _of_stage(
    given: Recipe, *, run: RunOptions, executor: Executor, where: AccessOptions, tensors: bool, hidden: bool
) -> dict[str, Any]:
    """The plan of one stage."""
    from mergeometry.execution.devices import placement_of, workers_on
    from mergeometry.plan.prepared import prepared_plan

    made = prepared_plan(given, where.access, weights=False)
    placement = placement_of(made, run.device)
    with executor.opened() as opened:
        count = workers_on(placement, made, run.workers, run.memory_limit, opened)
    if not hidden:
        print_plan(made, count, tensors, run.memory_limit, run.device)
        print_device(made, placement, run.device)
    return {**plan_as_json(made, count, run.memory_limit, run.device), "device": placement.to_json(made.tasks)}


def _learning(made: Plan) -> dict[str, Any]:
    """What learning will take, after a check of its data and heads; nothing where the recipe has no such section."""
    section = made.recipe.adapt
    if section is None:
        return {}
    from mergeometry.learning.dry_run import dry_run

    return {"learning": dry_run(made, section)}


def _collecting(made: Plan) -> dict[str, Any]:
    """What running the models on unlabelled inputs will take; nothing where the recipe has no such section."""
    section = made.recipe.data
    if section is None:
        return {}
    from mergeometry.activations.estimate import dry_run
    from mergeometry.activations.run import read_data

    return {"data": dry_run(made, section, read_data(made, section))}


def _searching(made: Plan, workers: int) -> dict[str, Any]:
    """What a search before the merge will take, after a check of its tasks; nothing where nothing is left open."""
    if not made.recipe.is_open:
        return {}
    from mergeometry.search.dry_run import dry_run

    return {"search": dry_run(made, workers)}


def _scale(task: TensorTask) -> Any:
    """A number, the rule that will give one, or nothing for a copy."""
    if task.method is None:
        return None
    return task.scale if task.scaling is None else task.scaling.model_dump()


def plan_as_json(
    made: Plan,
    workers: int,
    memory_limit: str | None = None,
    device: str = "auto",
    saved: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a merge would read, compute and write, as plain JSON values."""
    from mergeometry.execution.workers import limit_in_bytes
    from mergeometry.plan.machine import available_memory
    from mergeometry.plan.paces import paces
    from mergeometry.plan.shares import shares_of

    known = paces(device)
    return {
        "recipe": made.recipe.canonical(),
        "tensors": [
            {
                "name": task.name,
                "shape": task.base.shape,
                "dtype": task.base.code,
                "kind": kind_of(task),
                "matrices": len(task.slices) or int(task.kind == "matrix"),
                "method": task.method_name,
                "refinements": [name for name, _ in task.refinements],
                "scale": _scale(task),
                **({"values": dict(task.values)} if task.values else {}),
                "flops": task.cost.flops,
                "memory_bytes": task.cost.memory,
                "seconds": (task.cost.seconds - saved.get(task.name, 0.0)) * known.get(task.route, 1.0),
            }
            for task in made.tasks
        ],
        "files": [{"name": file.name, "bytes": file.size} for file in made.layout.files],
        "parameters": shares_of(made).to_json(),
        "heads": {label: [info.name for info in infos] for label, infos in made.heads.items()},
        "notes": [*made.notes, *made.sidecar_notes()],
        "bytes_read": made.bytes_read,
        "bytes_written": made.bytes_written,
        "workers": workers,
        "peak_memory_bytes": made.peak_memory(workers),
        "available_memory_bytes": available_memory(limit_in_bytes(memory_limit)),
        "seconds": made.seconds(workers, known, saved),
        "paces": {route: known[route] for route in sorted({task.route for task in made.tasks} & set(known))},
    }
