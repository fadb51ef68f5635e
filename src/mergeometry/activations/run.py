"""A merge by activations, from a plan to a published folder: read the inputs, run the models, merge as usual."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mergeometry.activations.attach import attach
from mergeometry.activations.collect import Moments, collect
from mergeometry.activations.estimate import check_memory, check_room, estimate
from mergeometry.activations.in_order import collect_in_order, follows_merge
from mergeometry.encoders import build_encoder
from mergeometry.encoders.pooling import with_pooling
from mergeometry.encoders.runnable import runnable_kind
from mergeometry.execution.extras import Extras
from mergeometry.execution.run import Progress, execute
from mergeometry.execution.scratch import scratch_folder
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.workers import MemoryLimit, limit_in_bytes, workers_for
from mergeometry.inputs import UnlabelledData, read_unlabelled
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.adapt import AdaptTask
from mergeometry.recipe.data import DataSection
from mergeometry.sink import RunRecord
from mergeometry.sink.replaceable import refuse_taken
from mergeometry.sink.target import resolved_target


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
) -> RunRecord:
    """Run every model on its task's unlabelled inputs from the plan's `data:` section, and merge by the activations.

    The moments of the layers' inputs are kept in a folder next to the output, which is removed afterwards. The models
    are run on the CPU; ``device`` is where they are merged.

    Raises:
        MergeometryError: something is wrong with the inputs, the models or the output; nothing is published.
    """
    section = plan.recipe.data
    assert section is not None, "the recipe has no data section"
    started, target = time.perf_counter(), resolved_target(output)
    refuse_taken(target, overwrite=overwrite, inputs=plan.inputs)
    workers_for(plan, workers, memory_limit)  # a merge that cannot fit is refused before the models run
    data = read_data(plan, section)
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = estimate(plan, section, data)
    check_memory(expected, limit_in_bytes(memory_limit))
    check_room(expected, target.parent)
    with scratch_folder(target.parent, f".{target.name}.mergeometry-activations-") as folder:
        moments = collect_for(plan, section, data, folder)
        informed, notes = attach(plan, moments)
        seconds = time.perf_counter() - started
        extras = Extras(
            identity=identity_of(data),
            notes=(*(f"{label}: {note}" for label, inputs in data.items() for note in inputs.notes), *notes),
            data=_summary(data, moments, seconds),
        )
        return execute(
            informed, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress,
            extras=extras, memory_limit=memory_limit, tell=tell, device=device,
        )  # fmt: skip


def read_data(plan: Plan, section: DataSection) -> dict[str, UnlabelledData]:
    """Every model's unlabelled inputs, in the order of the models.

    Raises:
        DataError: a model's inputs are missing or malformed; the error names the model.
        SourceError: a file cannot be opened.
    """
    kind = "images" if runnable_kind(plan.base, section.encoder) == "image" else "texts"
    labels = [model.label for model in plan.models]
    return {label: read_unlabelled(AdaptTask(name=label, data=section.source(label)), kind) for label in labels}


def collect_for(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData], folder: Path) -> Moments:
    """Moments for every matrix that the plan merges by activations; the encoder is freed afterwards.

    Raises:
        MergeometryError: the encoder cannot be built, runs none of the matrices, or gives activations that are not
            finite.
    """
    encoder = build_encoder(plan.base, with_pooling(section.encoder, plan.models, ()), torch.device("cpu"))
    return (collect_in_order if follows_merge(plan) else collect)(plan, encoder, list(data.values()), folder)


def identity_of(data: Mapping[str, UnlabelledData]) -> str:
    """Digest of all inputs that the moments are computed from."""
    return hashlib.sha256(json.dumps([[label, inputs.digest] for label, inputs in data.items()]).encode()).hexdigest()


def _summary(data: Mapping[str, UnlabelledData], moments: Moments, seconds: float) -> dict[str, Any]:
    """What the run record keeps about the inputs: counts and digests, no content."""
    tasks = [
        {
            "name": label,
            "kind": inputs.kind,
            "items": len(inputs.items),
            "rows": moments.rows[label],
            "sha256": inputs.digest,
        }
        for label, inputs in data.items()
    ]
    return {"tasks": tasks, "layers": len(moments.stored), "seconds": seconds}
