"""The merge from a plan to a published folder: stage, compute, journal, write the metadata, publish."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mergeometry.errors import ExecutionError, RecipeError
from mergeometry.execution.adapter_survey import surveyed
from mergeometry.execution.compute import Job, Outcome
from mergeometry.execution.decisions import decisions
from mergeometry.execution.devices import placement_of, workers_on
from mergeometry.execution.directions_folder import DirectionsFolder, Kept, kept_in, refuse_unusable
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.extras import NOTHING, Extras
from mergeometry.execution.finish import write_metadata
from mergeometry.execution.global_scale import with_global_scale
from mergeometry.execution.identity import files_read, identity_of
from mergeometry.execution.lost_bytes import refuse_lost
from mergeometry.execution.pool import run_jobs
from mergeometry.execution.residuals import RESIDUALS, write_residuals
from mergeometry.execution.restoring import restored
from mergeometry.execution.sidecars import sidecars_of
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.timings import Timings
from mergeometry.execution.workers import MemoryLimit, limit_in_bytes
from mergeometry.plan.placement import Placement
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_cost import expected_bytes
from mergeometry.plan.single_file import written_to
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink import RunRecord, Staging
from mergeometry.sink.page import remove_stale_page
from mergeometry.sink.target import resolved_target

Progress = Callable[[TensorTask], None]
"""Called with each tensor as it is finished."""


def execute(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    extras: Extras = NOTHING,
    memory_limit: MemoryLimit = None,
    tell: Tell = untold,
    device: str = "cpu",
    executor: Executor = LOCAL,
    directions: DirectionsFolder | None = None,
) -> RunRecord:
    """Run a plan; the output folder, with the ``extras``, appears complete or not at all.

    ``tell`` is called when tensors of an earlier run are "resumed" or "discarded", with how many. ``device`` is cpu,
    cuda, cuda:i, or auto: a GPU where there is one and it saves time. The ``executor`` is one that is open.
    Decompositions that the folder of ``directions`` has are taken from there, and others kept; the bytes are the same.

    Raises:
        RecipeError: a search is still to be made, fewer than one worker is asked for, the merge needs more memory than
            there is, or there is no such device.
        OutputError: the output exists, the disk is too small or fails, or another run writes the same output.
        NumericalError: an input or a merged tensor is not finite; nothing is published.
        ExecutionError: a worker dies, or Ctrl-C stops the run, which ``resume`` can continue; or a node of a cluster
            does not see the inputs or the output.
    """
    if plan.recipe.is_open:
        raise RecipeError("something is still to be chosen by validation", hint="`mergeometry.merge` chooses it first")
    refuse_unusable(directions, plan, output)
    timings, asked = Timings(plan), workers
    placement = placement_of(plan, device)
    workers = workers_on(placement, plan, workers, memory_limit, executor)
    plan = written_to(plan, resolved_target(output))
    algorithm, kept = plan.recipe.output.digest, kept_in(directions, plan.ordered())
    staging = Staging(output, overwrite=overwrite, resume=resume, inputs=plan.inputs, algorithm=algorithm)
    try:
        with staging, executor.sharing(staging.token, files_read(plan)) as checked:
            sidecars = sidecars_of(plan)
            heads = sum(info.nbytes for infos in plan.heads.values() for info in infos)
            files = sum(map(len, extras.files.values()))
            extra = sidecars.nbytes + heads + files + expected_bytes(plan) + (1 << 20)
            identity = identity_of(plan, extras.identity + placement.identity)
            with timings.stage("prepare"):
                plan = with_global_scale(plan, workers, placement, checked, kept)
                plan = written_to(surveyed(plan, workers, placement=placement, executor=checked), staging.target)
                later = "" if plan.residuals is None else RESIDUALS
                staging.create(plan.layout, identity.digest, extra_bytes=extra, parts=identity.parts, later=later)
                outcomes = _earlier(plan, staging.completed())
            extras = _with_discarded(extras, staging, tell)
            if staging.resumed:
                tell("resumed", {"tensors": len(outcomes)})
            # Closed here, not when it is collected: no worker may still be writing when the staging folder is removed.
            with (
                timings.stage("merge"),
                closing(
                    _computed(plan, staging, workers, set(outcomes), progress, placement, checked, kept)
                ) as computed,
            ):
                for outcome in computed:
                    outcomes[outcome.name] = outcome
                    timings.finished(outcome)
            refuse_lost(plan, staging, outcomes.values(), workers, checked)
            residuals = write_residuals(plan, staging, workers, checked, timings)
            notes = (*extras.notes, *residuals.notes, *executor.notes())
            extras = replace(extras, notes=notes, residuals=residuals.entries)
            chosen = decisions(plan, asked, workers, limit_in_bytes(memory_limit), placement)
            chosen |= kept.to_json(outcome.recalled for outcome in outcomes.values())
            record = write_metadata(plan, staging, outcomes, sidecars, identity.digest, timings, extras, chosen)
            staging.publish()
    except KeyboardInterrupt as error:
        if staging.published:
            text = "interrupted once the merge was done: the output is in its place, and whole"
            raise Interrupted(text, hint=f"it is {staging.target}") from error
        hint = "run the same command with --resume to continue" if staging.kept else "nothing was kept"
        raise Interrupted("the merge was interrupted; nothing was published", hint=hint) from error
    except Exception as error:
        if staging.kept:
            error.add_note("what was finished is kept; --resume continues it, a run without --resume removes it")
        raise
    if problem := remove_stale_page(staging.target, record.digest, record.fingerprint):
        tell("page", {"problem": problem})
    return record


def _with_discarded(extras: Extras, staging: Staging, tell: Tell) -> Extras:
    """The extras with a note on what an earlier run had finished and this one computes again."""
    if (lost := staging.discarded) is None:
        return extras
    tell("discarded", {"tensors": lost.tensors, "bytes": lost.nbytes, "reason": lost.reason})
    return replace(extras, notes=(*extras.notes, str(lost)))


class Interrupted(ExecutionError):  # noqa: N818  (the user asked for it)
    """The user stopped the run."""


def _computed(
    plan: Plan,
    staging: Staging,
    workers: int,
    done: set[str],
    progress: Progress | None,
    placement: Placement,
    executor: Executor,
    kept: Kept,
) -> Generator[Outcome]:
    labels = tuple(model.label for model in plan.models)
    tasks = {task.name: task for task in plan.tasks}
    jobs = []
    for task in plan.ordered():
        if task.name in done:
            if progress:
                progress(task)
            continue
        slots = tuple(plan.layout.slots[output.name] for output in task.outputs)
        digest, where = plan.recipe.output.digest, placement.of(task)
        jobs.append(Job(task, slots, staging.folder, labels, digest, where, kept.of(task)))
    with closing(run_jobs(jobs, workers, executor)) as finished:
        for outcome in finished:
            for output, digest in zip(tasks[outcome.name].outputs, outcome.written, strict=True):
                staging.journal(output.name, {"digest": digest, "outcome": asdict(outcome)})
            if progress:
                progress(tasks[outcome.name])
            yield outcome


def _earlier(plan: Plan, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
    """Outcomes of tasks that an interrupted run finished, with all of their outputs unchanged."""
    outcomes = {}
    for task in plan.tasks:
        entries = [records[output.name] for output in task.outputs if output.name in records]
        if entries and len(entries) == len(task.outputs):
            outcome = restored(task.name, entries)
            if outcome is not None:
                outcomes[task.name] = outcome
    return outcomes
