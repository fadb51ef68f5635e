"""``mergeometry router``: what chooses among the residuals of a merge, or its heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mergeometry.cli.run_options import ScoringDevice, check_device_name
from mergeometry.cli.show import Debug, Json, console, plain, plain_errors
from mergeometry.errors import OutputError


def router(
    merged: Annotated[Path, typer.Argument(metavar="DIR", help="A merge's output, with residuals or heads.")],
    tasks: Annotated[Path, typer.Option("--tasks", help="A YAML file of tasks: of each, its `unlabelled` inputs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write: ROUTER.safetensors.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Inputs per task, where the file gives no limit.")] = 32,
    device: ScoringDevice = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit what tells the tasks of a merge apart, to a few unlabelled inputs of each.

        mergeometry router merged --tasks tasks.yaml --output merged-router.safetensors

    In Python, `mergeometry.Router.load(FILE).route(model, batch)` then names the task of each input, whose residual is
    to be switched on, or whose head answers. The output itself does not change.
    """
    with plain_errors(debug):
        check_device_name(device)
        from mergeometry.comparison.tasks_file import load_tasks
        from mergeometry.routing.from_folder import router_of
        from mergeometry.routing.router import refuse_other_file

        refuse_other_file(output)
        if merged.resolve() in output.resolve().parents:
            raise OutputError(
                "the output of a merge holds what its record says, and a router is not of it", file=output,
                hint="write the router beside the folder",
            )  # fmt: skip
        made, choices = router_of(merged, load_tasks(tasks), limit=limit, device=device)
        made.save(output)
        if as_json:
            told = {"file": str(output), "tasks": list(made.tasks), "layer": made.layer, "bytes": output.stat().st_size}
            typer.echo(json.dumps({**told, "held_out": made.held_out, "chooses": choices.among}, indent=1))
            return
        console().print(f"wrote {plain(str(output))}: {len(made.tasks)} tasks, by hidden state {made.layer}")
        if choices.among == "heads":
            console().print("the merge has heads and no residuals: the router chooses among the heads")
        elif choices.among == "tasks":
            console().print("the folder has no record of a merge: the router names the tasks of the file")
        if made.held_out is not None:
            console().print(
                f"{100 * made.held_out:.0f} % of the inputs get their own task from a router fitted without them"
            )
