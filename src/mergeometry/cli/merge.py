"""``mergeometry merge``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mergeometry.cli.access import AccessOptions, fetching
from mergeometry.cli.events import events, planned, published_facts, started, telling
from mergeometry.cli.learning import learn
from mergeometry.cli.merge_page import write_page
from mergeometry.cli.options import spread
from mergeometry.cli.progress import merging
from mergeometry.cli.recipes import MethodOptions, RecipeOptions, recipe_from
from mergeometry.cli.record_printed import print_record
from mergeometry.cli.run_options import RunOptions
from mergeometry.cli.searching import searching
from mergeometry.cli.show import (
    Debug,
    Json,
    Quiet,
    console,
    launched,
    plain,
    plain_errors,
    published,
    spoken_for,
    wrong_usage,
)
from mergeometry.cli.stages import finished_stages, merged, stages_of

if TYPE_CHECKING:
    from mergeometry.cli.events import Events
    from mergeometry.execution.executor import Executor
    from mergeometry.plan import Plan
    from mergeometry.recipe import Recipe
    from mergeometry.recipe.stages import Stage
    from mergeometry.sink import RunRecord


@spread
def merge(
    recipe: RecipeOptions,
    how: MethodOptions,
    run: RunOptions,
    where: AccessOptions,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Merge models into one; the output folder appears whole or not at all.

    The models alone: their base is the one that they name, and `auto` chooses the method and says why:

        mergeometry merge A C --output merged

    With a recipe file, whose keys the options override:

        mergeometry merge recipe.yaml --output merged

        mergeometry merge recipe.yaml --method ties --scale auto --weight reviews=0.5 --output merged-ties

    Without a recipe file:

        mergeometry merge --base B --model A --model C --method dc_merge --output merged

        mergeometry merge --base B --model A --weight 1 --model C --weight 0.5 --method tsv_m --other rows
        --head 'classifier.*' --dtype float32 --output merged

    Models may lie on the Hugging Face hub (docs/sources.md); they are fetched once their headers fit together:

        mergeometry merge --base owner/base --model owner/tuned@main --model ./mine --method ties --output merged

    `mergeometry plan` takes the same options and writes nothing.

    A recipe with an `adapt:` section learns its coefficients on unlabelled data first (docs/learning.md); with
    `adapt: {accelerate: true}` on several GPUs, started by Accelerate:

        accelerate launch -m mergeometry merge recipe.yaml --output merged

    mergekit's recipes are taken as they are (docs/coming-from-mergekit.md). A file of several recipes is merged in
    stages (docs/recipes.md): a `name` makes one a model of the others, and the one without gives the output.

    A recipe with a `data:` section first runs every model on a few unlabelled inputs, for methods that merge by
    activations.

    On a Ray cluster, whose nodes share the storage of inputs and output (docs/cluster.md):

        mergeometry merge recipe.yaml --output /shared/merged --executor ray --address auto
    """
    with events(run.log) as written, plain_errors(debug, written), ExitStack() as resources:
        if run.output is None:
            wrong_usage("--output says where to write; there is no default")
        run.check()
        executor = resources.enter_context(run.chosen_executor.opened())
        hidden = quiet or as_json or spoken_for() or written is not None
        told = None if spoken_for() else written
        if told is not None:
            told("started", started("merge"), output=str(run.output))
        if stages := stages_of(recipe, how):
            _merge_stages(stages, run, where, told, as_json=as_json, hidden=hidden, quiet=quiet, executor=executor)
            return
        given = recipe_from(recipe, how, offline=where.offline)
        plan, record = _merged(given, run, where, told, hidden=hidden, executor=executor)
        if spoken_for():
            return
        page = _page(given, run, record, written, quiet=quiet, executor=executor)
        if as_json:
            with published(run.output):
                typer.echo(json.dumps(record.to_json(), indent=1))
        elif not quiet and written is None:
            with published(run.output):
                print_record(plan, record, run.output)
                if page is not None:
                    console().print(f"  page: {plain(page)}", soft_wrap=True)


def _merged(
    given: Recipe, run: RunOptions, where: AccessOptions, written: Events | None, *, hidden: bool, executor: Executor
) -> tuple[Plan, RunRecord]:
    """Plan and carry out one merge."""
    plan, record = _carried_out(given, run, where, written, hidden=hidden, executor=executor)
    if written is not None:
        written("published", published_facts(record), output=str(run.output))
    return plan, record


def _page(
    given: Recipe, run: RunOptions, record: RunRecord, written: Events | None, *, quiet: bool, executor: Executor
) -> Path | None:
    """Write the page beside the output, where one is wanted."""
    assert run.output is not None
    if not (given.output.report if run.report is None else run.report):
        return None
    from mergeometry.execution.executor import LOCAL

    here = executor if run.executor == "local" else LOCAL  # a page takes less than a cluster's tasks do
    return write_page(run.output, record, memory_limit=run.memory_limit, events=written, quiet=quiet, executor=here)


def _carried_out(
    given: Recipe, run: RunOptions, where: AccessOptions, written: Events | None, *, hidden: bool, executor: Executor
) -> tuple[Plan, RunRecord]:
    from mergeometry.execution.devices import workers_at_start
    from mergeometry.execution.workers import likely_workers, worker_count
    from mergeometry.own_process import load_for_good
    from mergeometry.plan.prepared import prepared_plan

    assert run.output is not None
    run.check_device()
    if given.adapt is None:  # learning runs in this process, long before a worker is needed
        # Workers load torch while this process reads the recipe, plans and lays out.
        likely = likely_workers(run.workers, given.labelled_paths())
        executor.expect(workers_at_start(run.device, run.workers, likely))
    with fetching(hidden=hidden, events=written) as show:
        plan = prepared_plan(given, where.access, show=show)
    if written is not None:
        written("planned", planned(plan))
    options: Any = {"workers": run.workers, "overwrite": run.overwrite, "resume": run.resume, "executor": executor}
    options |= {"memory_limit": run.memory_limit, "tell": telling(written, hidden=hidden), "device": run.device}
    options["directions"] = run.directions_folder
    if given.adapt is not None:
        return plan, learn(plan, run.output, hidden=hidden, events=written, **options)
    _refuse_several_processes()
    workers = workers_at_start(run.device, run.workers, worker_count(run.workers, plan.seconds(1)))
    executor.expect(workers)
    if workers <= 1 and run.executor == "local":
        load_for_good()
    if given.data is not None:
        from mergeometry.activations.run import merge_on_data as execute
    else:
        from mergeometry.execution.run import execute

    with (
        searching(plan, run, written, hidden=hidden, executor=executor) as plan,
        merging(plan, hidden=hidden, events=written) as advance,
    ):
        record = execute(plan, run.output, progress=advance, **options)
    # A cluster's nodes say nothing of this machine, nor does a merge whose decompositions were known.
    if run.executor == "local" and not record.decisions.get("directions", {}).get("known"):
        from mergeometry.plan.paces import remember

        remember(plan, {tensor.name: tensor.seconds for tensor in record.tensors}, run.device)
    return plan, record


def _merge_stages(
    stages: tuple[Stage, ...],
    run: RunOptions,
    where: AccessOptions,
    written: Events | None,
    *,
    as_json: bool,
    hidden: bool,
    quiet: bool,
    executor: Executor,
) -> None:
    """Merge several stages, each once those that it needs are there."""
    from mergeometry.execution.stages import check_stages
    from mergeometry.plan.prepared import prepared_plan
    from mergeometry.sink.replaceable import refuse_taken
    from mergeometry.sink.target import resolved_target

    assert run.output is not None
    _refuse_several_processes()
    if any(stage.name is None for stage in stages):
        refuse_taken(resolved_target(run.output), overwrite=run.overwrite, inputs=[])
    tell = telling(written, hidden=hidden)
    if not run.resume and (finished := finished_stages(stages, run.output)):
        reason = f"stages {', '.join(map(repr, finished))} are merged anew without --resume"
        tell("discarded", {"tensors": 0, "bytes": 0, "reason": reason})
    check_stages(stages, run.output, lambda recipe: prepared_plan(recipe, where.access, weights=False))

    def one(recipe: Recipe, target: Path) -> RunRecord:
        there = replace(run, output=target)
        record = _merged(recipe, there, where, written, hidden=hidden, executor=executor)[1]
        # The others are removed once the output is there.
        if run.output in (target, target.parent):
            _page(recipe, there, record, written, quiet=quiet, executor=executor)
        return record

    records = merged(stages, run.output, one, resume=run.resume, quiet=hidden)
    if as_json:
        typer.echo(json.dumps([record.to_json() for record in records], indent=1))


def _refuse_several_processes() -> None:
    """Refuse a launcher for a recipe that learns nothing: each of its processes would write the same output."""
    if launched() > 1:
        wrong_usage("several processes were started by a launcher, and the recipe has no `adapt:` section to share")
