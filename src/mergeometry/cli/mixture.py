"""``mergeometry mixture``: dense models as the experts of a sparse one."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.options import spread
from mergeometry.cli.plan import plan_as_json
from mergeometry.cli.plan_printed import print_plan
from mergeometry.cli.progress import merging
from mergeometry.cli.record_printed import print_record
from mergeometry.cli.run_options import WriteOptions
from mergeometry.cli.show import Debug, Json, Quiet, plain_errors, wrong_usage
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.plan import Plan
    from mergeometry.plan.mixture import Opened


@spread
def mixture(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe of a mixture, ours or mergekit-moe's.")],
    run: WriteOptions,
    where: AccessOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read and written; run no model.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put dense models together to a mixture of experts: their MLPs as experts, all else from the base.

    The recipe names the base, the experts with prompts that should lead to them, and how gates are made
    (docs/mixtures.md); mergekit-moe's files are taken as they are.

        mergeometry mixture mixture.yaml --output mixture

        mergeometry mixture mixture.yaml --dry-run

    Gates from prompts run the base, which needs the extra `adapt`.
    """
    with plain_errors(debug), ExitStack() as stack:
        if run.output is None and not dry_run:
            wrong_usage("--output says where to write; there is no default")
        from mergeometry.encoders.mixtures import open_models, write_mixture
        from mergeometry.execution.workers import workers_for
        from mergeometry.recipe.mixture import load_mixture

        hidden = quiet or as_json
        with fetching(hidden=hidden) as show:
            opened = open_models(load_mixture(recipe), where.access, show)
        executor = stack.enter_context(run.chosen_executor.opened())
        if run.output is None or dry_run:
            plan = _outline(opened)
            workers = workers_for(plan, run.workers, run.memory_limit, executor)
            if as_json:
                typer.echo(json.dumps(plan_as_json(plan, workers, run.memory_limit), indent=1))
            elif not quiet:
                print_plan(plan, workers, tensors=False, memory_limit=run.memory_limit)
            return
        plan, record = write_mixture(
            opened, run.output, workers=run.workers, overwrite=run.overwrite, resume=run.resume,
            memory_limit=run.memory_limit, executor=executor,
            shown=lambda plan: merging(plan, hidden=hidden),
        )  # fmt: skip
        if as_json:
            typer.echo(json.dumps(record.to_json(), indent=1))
        elif not quiet:
            print_record(plan, record, run.output, done=f"put {counted(len(opened.recipe.experts), 'expert')} together")


def _outline(opened: Opened) -> Plan:
    """The plan of a mixture whose gates are still to be made, which are as large whatever they hold."""
    import torch

    from mergeometry.plan.mixture import plan_mixture

    return plan_mixture(opened, torch.eye(*opened.shape[1:]).expand(opened.shape))
