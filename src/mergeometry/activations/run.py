"""A merge by activations or Fisher information: read the inputs, run the models, and merge as usual."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mergeometry.activations.attach import attach
from mergeometry.activations.collect import Moments, collect
from mergeometry.activations.estimate import check_memory, check_room, estimate
from mergeometry.activations.in_order import collect_in_order, follows_merge
from mergeometry.activations.jobs import collect_by_jobs
from mergeometry.activations.layers import merged_by_activations
from mergeometry.activations.summary import identity_of, summary
from mergeometry.encoders import build_encoder
from mergeometry.encoders.pooling import with_pooling
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.execution.directions_folder import DirectionsFolder, refuse_unusable
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.extras import Extras
from mergeometry.execution.identity import files_read
from mergeometry.execution.leftovers import ACTIVATIONS
from mergeometry.execution.run import Progress, execute
from mergeometry.execution.scratch import scratch_folder
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.workers import MemoryLimit, limit_in_bytes, workers_for
from mergeometry.fisher.attach import attach_fishers
from mergeometry.fisher.collect import Fishers, collect_fishers
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.plan.fishers import merged_by_fisher
from mergeometry.plan.plan import Plan
from mergeometry.recipe.data import DataSection
from mergeometry.recipe.inputs import AdaptTask
from mergeometry.sink import RunRecord
from mergeometry.sink.replaceable import refuse_taken
from mergeometry.sink.target import resolved_target


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected before the merge, and notes on it; None where no method needs it."""

    moments: Moments | None
    fishers: Fishers | None
    notes: tuple[str, ...]


def merge_on_data(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    memory_limit: MemoryLimit = None,
    tell: Tell = untold,
    device: str = "cpu",
    executor: Executor = LOCAL,
    directions: DirectionsFolder | None = None,
) -> RunRecord:
    """Run every model on its task's unlabelled inputs from the plan's `data:` section, and merge by what that shows.

    The moments of the layers' inputs, and the models' Fisher information, are kept in a folder next to the output,
    which is removed afterwards. The models are run on the CPU, on a cluster each by a worker of its own; ``device`` is
    where they are merged.

    Raises:
        MergeometryError: something is wrong with the inputs, the models or the output; nothing is published.
    """
    section = plan.recipe.data
    assert section is not None, "the recipe has no data section"
    refuse_unusable(directions, plan, output)
    started, target = time.perf_counter(), resolved_target(output)
    refuse_taken(target, overwrite=overwrite, inputs=plan.inputs)
    workers_for(plan, workers, memory_limit, executor)  # a merge that cannot fit is refused before the models run
    data = read_data(plan, section)
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = estimate(plan, section, data)
    check_memory(expected, limit_in_bytes(memory_limit))
    check_room(expected, target.parent)
    with scratch_folder(target.parent, ACTIVATIONS.format(name=target.name)) as folder:
        # Nodes that see other files are refused before the models run.
        with executor.sharing(folder / "token", files_read(plan)) as checked:
            informed, collected = collected_for(plan, section, data, folder, checked, expected.memory)
        seconds = time.perf_counter() - started
        said = (f"{label}: {note}" for label, inputs in data.items() for note in inputs.notes)
        extras = Extras(
            identity=identity_of(data, collected.fishers),
            notes=(*said, *collected.notes),
            data=summary(section, data, collected.moments, collected.fishers, seconds),
        )
        return execute(
            informed, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress,
            extras=extras, memory_limit=memory_limit, tell=tell, device=device,
            executor=executor, directions=directions,
        )  # fmt: skip


def collected_for(
    plan: Plan,
    section: DataSection,
    data: Mapping[str, UnlabelledData],
    folder: Path,
    executor: Executor = LOCAL,
    memory: int = 0,
) -> tuple[Plan, Collected]:
    """The plan with all that its methods need attached to them, and what that is; each run takes so much ``memory``.

    Raises:
        MergeometryError: a model cannot be run on its inputs, or what is on disk for it is not usable.
    """
    fishers, moments, notes = None, None, list[str]()
    # First, since what follows the merge layer by layer needs methods that can merge.
    if merged_by_fisher(plan.tasks):
        fishers = collect_fishers(plan, section, data, folder, executor, memory)
        plan, notes = attach_fishers(plan, fishers)
    if merged_by_activations(plan):
        moments = collect_for(plan, section, data, folder, executor, memory)
        plan, more = attach(plan, moments)
        notes = [*notes, *more]
    return plan, Collected(moments, fishers, tuple(notes))


def read_data(plan: Plan, section: DataSection) -> dict[str, UnlabelledData]:
    """The unlabelled inputs of every model that has some, in the order of the models.

    Raises:
        DataError: a model's inputs are missing or malformed; the error names the model.
        SourceError: a file cannot be opened.
    """
    labels = [model.label for model in plan.models if model.label not in section.ready_made]
    if not labels:
        return {}
    kind = "images" if runnable_kind(plan.base, section.encoder) == "image" else "texts"
    return {label: read_unlabelled(AdaptTask(name=label, data=section.source(label)), kind) for label in labels}


def collect_for(
    plan: Plan,
    section: DataSection,
    data: Mapping[str, UnlabelledData],
    folder: Path,
    executor: Executor = LOCAL,
    memory: int = 0,
) -> Moments:
    """Moments for every matrix that the plan merges by activations; the encoder is freed afterwards.

    Raises:
        MergeometryError: the encoder cannot be built, runs none of the matrices, or gives activations that are not
            finite.
    """
    options = with_pooling(section.encoder, plan.models, ())
    workers = executor.workers(None, memory)
    if workers is not None:
        return collect_by_jobs(plan, options, list(data.values()), folder, executor, workers, memory)
    encoder = build_encoder(plan.base, options, torch.device("cpu"))
    return (collect_in_order if follows_merge(plan) else collect)(plan, encoder, list(data.values()), folder)
