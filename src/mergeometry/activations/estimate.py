"""What collecting activations will take, from headers and counts alone: scratch space, memory, rough seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.activations.collect import MOMENTS_BYTES
from mergeometry.activations.layers import merged_by_activations
from mergeometry.encoders.build import kind_of
from mergeometry.errors import OutputError
from mergeometry.inputs import UnlabelledData
from mergeometry.methods.base import Activational
from mergeometry.plan.machine import (
    FLOAT32_FLOPS_PER_SECOND,
    FLOAT64_FLOPS_PER_SECOND,
    PROCESS_BYTES,
    TRANSFORMERS_BYTES,
)
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.data import DataSection

_FILE_BYTES = 4096
"""What a header and a file's last block add to a moment."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on disk until the merge is done, bytes of memory at the peak, seconds on one core."""

    scratch: int
    memory: int
    seconds: float


def estimate(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> Estimate:
    """Foretell the collection; memory counts the base, one model's own weights, and the moments of one run."""
    sides = [task.shape[1] for task in merged_by_activations(plan)]
    moments = sum(8 * side**2 for side in sides)
    elements = sum(info.elements for info in plan.base.tensors.values())
    embedding = sum(info.elements for name, info in plan.base.tensors.items() if "embed" in name)
    largest = max(info.elements for info in plan.base.tensors.values())
    kind, config = kind_of(section.encoder, plan.base.config), plan.base.config or {}
    length = 256 if kind == "image" else min(section.encoder.max_length, 64)
    rows = length * sum(len(own.items) for own in data.values())
    wide = int(config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 1024)
    vocabulary = int(config.get("vocab_size") or 0) if kind in ("causal", "seq2seq") else 0
    activations = 4 * 2048 * (12 * wide + 2 * vocabulary)
    held = min(MOMENTS_BYTES, moments) + 3 * max((8 * side**2 for side in sides), default=0)
    memory = PROCESS_BYTES + TRANSFORMERS_BYTES + 4 * (2 * elements + 2 * largest) + held + activations
    passes = max(1, -(-moments // MOMENTS_BYTES))
    seconds = passes * 2 * (elements - embedding) * rows / FLOAT32_FLOPS_PER_SECOND
    seconds += sum(side**2 for side in sides) * rows / FLOAT64_FLOPS_PER_SECOND
    scratch = len(data) * (moments + _FILE_BYTES * len(sides))
    return Estimate(scratch, memory, seconds + _norms(plan))


def dry_run(plan: Plan, section: DataSection, data: Mapping[str, UnlabelledData]) -> dict[str, Any]:
    """The same as plain values, with what each task has: for `mergeometry plan`."""
    found = estimate(plan, section, data)
    return {
        "tasks": [
            {"name": label, "items": len(own.items), "kind": own.kind, "notes": list(own.notes)}
            for label, own in data.items()
        ],
        "scratch_bytes": found.scratch,
        "memory_bytes": found.memory,
        "seconds": found.seconds,
    }


def check_room(expected: Estimate, folder: Path) -> None:
    """Refuse a disk that has no room for the moments.

    Raises:
        OutputError: there is less than they take.
    """
    status = os.statvfs(folder)
    left = status.f_bavail * status.f_frsize
    if expected.scratch > left:
        raise OutputError(
            f"moments of activations take {expected.scratch / 1e9:.1f} GB of scratch space, and the disk has "
            f"{left / 1e9:.1f} GB left",
            file=folder,
            hint="give fewer layers a method that needs them, by `tensors:` rules",
        )


def _norms(plan: Plan) -> float:
    """Seconds of merging once more, for methods that compare the norms of layers."""
    return sum(
        task.cost.seconds
        for task in plan.tasks
        if isinstance(task.method, Activational) and task.method.compares_layers
    )
