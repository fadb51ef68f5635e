"""Writes an adapter per model beside a merged model: what the merge lost of it, as far as the recipe asks.

After the merge, since what was lost is measured against the weights as they are written: one pass over all tensors for
the singular values, which decide the ranks of every adapter, and one that writes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from mergeometry.execution.executor import Demands, Executor
from mergeometry.execution.head_files import safe_name
from mergeometry.execution.pool import side_by_side
from mergeometry.execution.residual_choice import Kept, kept_of
from mergeometry.execution.residual_files import Folder, folder_of, settings_of
from mergeometry.execution.residual_jobs import Gap, GapJob, WriteJob, Written, measure, write
from mergeometry.execution.timings import Timings
from mergeometry.plan.machine import PROCESS_BYTES
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_cost import residual_memories
from mergeometry.plan.residual_form import ResidualForm
from mergeometry.sink import Layout, Staging
from mergeometry.sink.failures import readable_bytes

RESIDUALS = "residuals"
"""The folder of the residuals in the output."""


@dataclass(frozen=True, slots=True)
class Residuals:
    """The run record's entries on the residuals by model, and notes for the user."""

    entries: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_residuals(plan: Plan, staging: Staging, workers: int, executor: Executor, timings: Timings) -> Residuals:
    """Write the residuals that the recipe wants into the staged folder, whose weights are finished.

    Raises:
        MergeometryError: an input changed, a decomposition fails, or the disk refuses the bytes.
    """
    if plan.residuals is None:
        return Residuals()
    with timings.stage("residuals"):
        return _residuals(plan, plan.residuals, staging, workers, executor)


def _residuals(plan: Plan, form: ResidualForm, staging: Staging, workers: int, executor: Executor) -> Residuals:
    labels = tuple(model.label for model in plan.models)
    jobs = [
        GapJob(plan.by_name[name], kind, plan.layout.slots[name], staging.folder, labels)
        for name, kind in form.stored.items()
    ]
    memories = residual_memories(plan)
    jobs.sort(key=lambda job: (-memories[job.task.name], job.task.name))
    demands = _demands(memories)
    gaps = _measured(jobs, staging, workers, executor, demands)
    kept = [kept_of(plan, {name: of_models[index] for name, of_models in gaps.items()}) for index in range(len(labels))]
    folders = [folder_of(plan, f"{RESIDUALS}/{safe_name(label)}", one) for label, one in zip(labels, kept, strict=True)]
    layout = Layout(
        tuple(file for folder in folders for file in folder.layout.files),
        {name: slot for folder in folders for name, slot in folder.layout.slots.items()},
        {},
    )
    done = staging.extend(layout)
    lost = _written(jobs, kept, folders, done, staging, workers, executor, plan, demands)
    entries, notes = {}, []
    for index, (label, folder) in enumerate(zip(labels, folders, strict=True)):
        (file,) = folder.layout.files
        staging.seal(file.name)
        settings = settings_of(plan, kept[index], staging.target.name)
        staging.write_file(f"{folder.place}/adapter_config.json", (json.dumps(settings, indent=2) + "\n").encode())
        entry = _entry(plan, folder, kept[index], {name: one[index] for name, one in gaps.items()}, lost[index])
        entries[label] = {"folder": folder.place, "bytes": file.size, **entry}
        notes.append(
            f"{label}: {folder.place} keeps {entry['kept']:.4f} of what the merge lost, in {readable_bytes(file.size)}"
            f" with ranks up to {max(entry['ranks'].values())}"
        )
    return Residuals(entries, tuple(notes))


def _demands(memories: Mapping[str, int]) -> Demands[Any]:
    def name(job: GapJob | WriteJob) -> str:
        return (job if isinstance(job, GapJob) else job.gap).task.name

    return Demands(
        name=name,
        memory=lambda job: PROCESS_BYTES + memories[name(job)],
        writes=lambda job: () if isinstance(job, GapJob) else _files(job),
    )


def _files(job: WriteJob) -> set[Any]:
    return {job.gap.folder / slot.file for slots in job.slots for slot in slots}


def _measured(
    jobs: Sequence[GapJob], staging: Staging, workers: int, executor: Executor, demands: Demands[Any]
) -> dict[str, tuple[Gap, ...]]:
    """What every tensor lost of every model, by the tensors' names in the order of the jobs; noted as it is known."""
    gaps, waiting = {}, deque[GapJob]()
    for job in jobs:
        known = _restored(staging.noted(_note(job)), len(job.labels))
        if known is None:
            waiting.append(job)
        else:
            gaps[job.task.name] = known
    with closing(side_by_side(measure, waiting, min(workers, len(waiting)), executor, demands)) as finished:
        for job, found in finished:
            gaps[job.task.name] = found
            staging.note(
                _note(job), {"gaps": [[one.energy, one.update, b64encode(one.parts).decode()] for one in found]}
            )
    return {job.task.name: gaps[job.task.name] for job in jobs}


def _note(job: GapJob) -> str:
    return f"{RESIDUALS}: {job.task.name}"


def _restored(record: Mapping[str, Any] | None, models: int) -> tuple[Gap, ...] | None:
    """What an earlier run measured; None where it did not, or its note is not what this version writes."""
    try:
        entries = [] if record is None else record["gaps"]
        gaps = tuple(Gap(float(one), float(update), b64decode(parts)) for one, update, parts in entries)
    except (KeyError, TypeError, ValueError):
        return None
    return gaps if gaps and len(gaps) == models else None


def _written(
    jobs: Sequence[GapJob],
    kept: Sequence[Kept],
    folders: Sequence[Folder],
    done: Mapping[str, Mapping[str, Any]],
    staging: Staging,
    workers: int,
    executor: Executor,
    plan: Plan,
    demands: Demands[Any],
) -> list[dict[str, float]]:
    """Write what is kept; for each model, the squared norm of every tensor that is lost still."""
    lost: list[dict[str, float]] = [{} for _ in folders]
    waiting, names = deque[WriteJob](), {}
    for job in jobs:
        name = job.task.name
        of_models = [folder.names.get(name, ()) for folder in folders]
        names[name] = of_models
        if not any(of_models):
            continue
        if all(slot in done for slots in of_models for slot in slots):
            for index, slots in enumerate(of_models):
                if slots:
                    lost[index][name] = float(done[slots[0]]["lost"])
            continue
        waiting.append(
            WriteJob(
                job,
                tuple(one.ranks.get(name, 0) for one in kept),
                tuple(one.rows.get(name, ()) for one in kept),
                tuple(
                    tuple(folder.layout.slots[slot] for slot in slots)
                    for folder, slots in zip(folders, of_models, strict=True)
                ),
                plan.recipe.output.digest,
            )
        )
    with closing(side_by_side(write, waiting, min(workers, len(waiting)), executor, demands)) as finished:
        for job, result in finished:
            _journal(staging, names[job.gap.task.name], result)
            for index, slots in enumerate(names[job.gap.task.name]):
                if slots:
                    lost[index][job.gap.task.name] = result.lost[index]
    return lost


def _journal(staging: Staging, of_models: Sequence[Sequence[str]], result: Written) -> None:
    for slots, digests, lost in zip(of_models, result.digests, result.lost, strict=True):
        for slot, digest in zip(slots, digests, strict=True):
            staging.journal(slot, {"digest": digest, "lost": lost})


def _entry(
    plan: Plan, folder: Folder, kept: Kept, gaps: Mapping[str, Gap], lost: Mapping[str, float]
) -> dict[str, Any]:
    """What the record says of one residual."""
    form = plan.residuals
    assert form is not None
    whole = sum(gap.energy for gap in gaps.values())
    left = sum(lost.get(name, gap.energy) for name, gap in gaps.items())
    update = sum(gap.update for gap in gaps.values())
    out = {name: gaps[name].energy / whole for name in gaps if name not in folder.names and gaps[name].energy > 0}
    return {
        "gap": whole / update if update else 0.0,
        "kept": 1 - left / whole if whole else 1.0,
        "ranks": {form.module(name): rank for name, rank in kept.ranks.items() if rank},
        "rows": {form.module(name): len(rows) for name, rows in kept.rows.items()},
        "whole": sorted({form.module(name) for name in kept.whole if form.stored[name] != "bias"}),
        "left_out": dict(sorted(out.items(), key=lambda item: -item[1])),
    }
