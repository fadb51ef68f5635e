"""What learning writes next to the merged weights: heads, coefficients, rotations, curves and a summary."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from mergeometry.inputs import UnlabelledData
from mergeometry.learning.agreement import agreements
from mergeometry.learning.build_learner import Prepared
from mergeometry.learning.rotation import fold_into
from mergeometry.learning.scene import unique
from mergeometry.learning.state import State
from mergeometry.recipe.adapt import AdaptSection
from mergeometry.sink import safetensors_bytes

COEFFICIENTS, ROTATIONS, CURVES = "adapt/coefficients.safetensors", "adapt/rotations.safetensors", "adapt/curves.json"


def folded_heads(prepared: Prepared, labels: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The head of each task that has one, with its rotation folded in: ``h' = h R``."""
    heads = {}
    for label, head, rotation in zip(labels, prepared.heads, prepared.scene.rotations, strict=True):
        if head is not None:
            weight = head.weight if rotation is None else fold_into(head.weight, rotation)
            heads[label] = {"weight": weight.contiguous().cpu(), "bias": head.bias.contiguous().cpu()}
    return heads


def files(prepared: Prepared, state: State, labels: Sequence[str]) -> dict[str, bytes]:
    """The learned parameters and the curves of learning, as the contents of files by name."""
    parameters = {key: value.detach().cpu().contiguous() for key, value in prepared.table.parameters.items()}
    contents = {
        COEFFICIENTS: safetensors_bytes(
            parameters, {"granularity": prepared.table.granularity, "tasks": json.dumps(list(labels))}
        ),
        CURVES: (json.dumps(curves(state), indent=1) + "\n").encode(),
    }
    rotations = {
        labels[index] if not prepared.scene.merged.encoder.language_model else "shared": rotation.matrix()
        .detach()
        .cpu()
        .contiguous()
        for index, rotation in unique(prepared.scene.rotations)
    }
    if rotations:
        contents[ROTATIONS] = safetensors_bytes(rotations, {"law": "features in rows: z @ R.T; heads hold h @ R"})
    return contents


def curves(state: State) -> list[dict[str, Any]]:
    """Every step's objective and terms as plain JSON values."""
    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in point.items()}
        for point in map(asdict, state.points)
    ]


def summary(
    section: AdaptSection, prepared: Prepared, state: State, data: Sequence[UnlabelledData], seconds: float
) -> Mapping[str, Any]:
    """What the run record says about learning."""
    means, labels = prepared.learner.means, prepared.learner.labels
    outside_span = (
        {}
        if means is None
        else {
            labels[task]: round(rotation.outside(means.of(task)), 4)
            for task, rotation in unique(prepared.scene.rotations)
        }
    )
    checks = [point for point in state.points if point.held_out is not None]
    return {
        "objective": section.objective,
        "weights": asdict(prepared.scene.objective.weights),
        "strengths": {task: round(share, 4) for task, share in prepared.strengths.items()},
        "coefficients": prepared.table.granularity,
        "learned_numbers": prepared.table.count,
        "rotation": section.resolved_rotation,
        # Share of the class means' energy that has left the span in which each rotation acts.
        "outside_span": outside_span,
        "data": [
            {
                "items": len(inputs.items),
                "sha256": inputs.digest,
                **({"synthetic": inputs.made} if inputs.made is not None else {}),
            }
            for inputs in data
        ],
        "steps": state.step,
        "kept_step": state.best_step,
        "held_out": {"start": checks[0].held_out, "kept": state.best, **prepared.learner.held_out.gain.to_json()}
        if checks
        else None,
        "agreement": {one.task: one.to_json() for one in agreements(state)},
        "precision": str(prepared.scene.dtype).removeprefix("torch."),
        "seconds": round(seconds, 1),
    }
