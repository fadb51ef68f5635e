"""What a run record keeps of the inputs that a merge was made on, and by which a resumed run knows the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mergeometry.activations.collect import Moments
from mergeometry.fisher.collect import Fishers
from mergeometry.inputs import UnlabelledData
from mergeometry.recipe.data import DataSection


def identity_of(data: Mapping[str, UnlabelledData], fishers: Fishers | None = None) -> str:
    """Digest of all inputs, and of all Fisher information on disk, that the merge depends on."""
    known = [[label, inputs.digest] for label, inputs in data.items()]
    if fishers is not None:
        # The norm tells estimates by other heads, labels or code apart.
        known += [[label, model.sha256, model.norm.hex()] for label, model in fishers.models.items()]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def summary(
    section: DataSection,
    data: Mapping[str, UnlabelledData],
    moments: Moments | None,
    fishers: Fishers | None,
    seconds: float,
) -> dict[str, Any]:
    """Counts, digests and norms, no content."""
    tasks: list[dict[str, Any]] = []
    for label in section.tasks:
        task: dict[str, Any] = {"name": label}
        if label in data:
            inputs = data[label]
            task |= {"kind": inputs.kind, "items": len(inputs.items), "sha256": inputs.digest}
        else:
            assert fishers is not None
            task |= {"fisher": section.ready_made[label], "sha256": fishers.models[label].sha256}
        if moments is not None:
            task["rows"] = moments.rows[label]
        if fishers is not None:
            task["norm"] = fishers.models[label].norm
        tasks.append(task)
    kept: dict[str, Any] = {"tasks": tasks, "seconds": seconds}
    if moments is not None:
        kept["layers"] = len(moments.stored)
    if fishers is not None:
        kept["fishers"] = len(fishers.stored)
    return kept
