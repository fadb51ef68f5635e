"""Estimates what is taken before the merge, from headers and counts alone: scratch space, memory, rough seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.activations.collect import MOMENTS_BYTES
from mergeometry.activations.in_order import follows_merge, stages_of
from mergeometry.activations.layers import merged_by_activations
from mergeometry.encoders.kind import kind_of
from mergeometry.errors import OutputError
from mergeometry.fisher.cost import cost_of_fishers
from mergeometry.inputs import UnlabelledData
from mergeometry.methods.base import Activational
from mergeometry.plan.machine import (
    FLOAT32_FLOPS_PER_SECOND,
    FLOAT64_FLOPS_PER_SECOND,
    PROCESS_BYTES,
    TRANSFORMERS_BYTES,
)
from mergeometry.plan.memory_check import refuse_beyond_memory
from mergeometry.plan.plan import Plan
from mergeometry.recipe.data import DataSection

_FILE_BYTES = 4096
"""Bytes that the header and the last block of a file add to each moment."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on disk until the merge is done, peak bytes of memory, and seconds on one core."""

    scratch: int
    memory: int
    seconds: float


def estimate(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> Estimate:
    """Estimate all that is collected before the merge: moments and Fisher information, one after the other."""
    scratch, memory, seconds = cost_of_fishers(plan, section, data)
    if not merged_by_activations(plan):
        return Estimate(scratch, memory, seconds)
    moments = _moments(plan, section, data)
    return Estimate(scratch + moments.scratch, max(memory, moments.memory), seconds + moments.seconds)


def _moments(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> Estimate:
    """Memory counts the base, one model's own weights, and the moments of one run."""
    sides = [task.shape[1] for task in merged_by_activations(plan)]
    moments = sum(8 * side**2 for side in sides)
    elements = sum(info.elements for info in plan.base.tensors.values())
    embedding = sum(info.elements for name, info in plan.base.tensors.items() if "embed" in name)
    largest = max(info.elements for info in plan.base.tensors.values())
    kind, config = kind_of(section.encoder, plan.base.config), plan.base.config or {}
    length = 256 if kind == "image" else min(section.encoder.max_length, 64)
    rows = length * sum(len(task_data.items) for task_data in data.values())
    width = int(config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 1024)
    vocabulary = int(config.get("vocab_size") or 0) if kind in ("causal", "seq2seq") else 0
    activations = 4 * 2048 * (12 * width + 2 * vocabulary)
    held = min(MOMENTS_BYTES, moments) + 3 * max((8 * side**2 for side in sides), default=0)
    memory = PROCESS_BYTES + TRANSFORMERS_BYTES + 4 * (2 * elements + 2 * largest) + held + activations
    passes = max(1, -(-moments // MOMENTS_BYTES))
    if follows_merge(plan):
        passes = max(passes, len(stages_of(plan)))
        memory += 4 * elements
    seconds = passes * 2 * (elements - embedding) * rows / FLOAT32_FLOPS_PER_SECOND
    seconds += sum(side**2 for side in sides) * rows / FLOAT64_FLOPS_PER_SECOND
    scratch = len(data) * (moments + _FILE_BYTES * len(sides))
    return Estimate(scratch, memory, seconds + _norms(plan))


def dry_run(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> dict[str, Any]:
    """The estimate as plain values, with each task's inputs, for `mergeometry plan`."""
    expected = estimate(plan, section, data)
    return {
        "tasks": [
            {"name": label, "items": len(inputs.items), "kind": inputs.kind, "notes": list(inputs.notes)}
            for label, inputs in data.items()
        ],
        "fishers": section.ready_made,
        "scratch_bytes": expected.scratch,
        "memory_bytes": expected.memory,
        "seconds": expected.seconds,
    }


def check_memory(expected: Estimate, limit: int | None = None) -> None:
    """Check that the models can run in memory, of which the user may allow less by ``limit``.

    Raises:
        RecipeError: the estimate exceeds the memory that there is.
    """
    hint = "merge without activations, by average or tsv_m, or use a machine with more memory"
    refuse_beyond_memory("running the models", expected.memory, limit, hint=hint)


def check_room(expected: Estimate, folder: Path) -> None:
    """Check that the disk has room for what is collected.

    Raises:
        OutputError: the disk has less space than that takes.
    """
    status = os.statvfs(folder)
    left = status.f_bavail * status.f_frsize
    if expected.scratch > left:
        raise OutputError(
            f"moments of activations take {expected.scratch / 1e9:.1f} GB of scratch space, and the disk has "
            f"{left / 1e9:.1f} GB left",
            file=folder,
            hint="merge some layers without activations: tensors: [{match: '*NAME*', method: average}]",
        )


def _norms(plan: Plan) -> float:
    """Seconds of the extra merge that methods comparing the norms of layers need."""
    return sum(
        task.cost.seconds
        for task in plan.tasks
        if isinstance(task.method, Activational) and task.method.compares_layers
    )
