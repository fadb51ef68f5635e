"""Which span a rotation may turn in, from prototypes and from features looked at before learning."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.learning.losses import class_means
from mergeometry.learning.objective import TaskTerms
from mergeometry.learning.rotation import FullRotation, SubspaceRotation, TaskRotation
from mergeometry.linalg.rotations import span_basis
from mergeometry.linalg.svd import thin_svd

LEADING = 64
"""Principal directions of its features that a language model's rotation turns in, having no classes to span it."""


def task_rotation(kind: str, features: Float[Tensor, "n d"], terms: TaskTerms) -> tuple[TaskRotation, str | None]:
    """A task's rotation: of all dimensions, or of those that prototypes and predicted-class means span."""
    if kind == "full":
        return FullRotation(features.shape[1]), None
    assert terms.head is not None and terms.prototypes is not None
    predicted = terms.head.predict(features)
    means, _ = class_means(features, predicted, len(terms.head.bias))
    basis = span_basis(torch.cat([terms.prototypes.to(means), means], dim=1))
    if 2 * basis.shape[1] >= features.shape[1]:
        return SubspaceRotation(basis), (
            f"prototypes and class means span {basis.shape[1]} of {features.shape[1]} dimensions: "
            "rotation: subspace saves little here"
        )
    return SubspaceRotation(basis), None


def feature_rotation(kind: str, features: Float[Tensor, "n d"]) -> TaskRotation:
    """A language model's one rotation: of all dimensions, or of the leading principal directions of its features."""
    if kind == "full":
        return FullRotation(features.shape[1])
    _, _, right = thin_svd(features.cpu())
    return SubspaceRotation(right[:, :LEADING].to(features.device))
