"""Whether tasks have the heads that an objective needs, asked before anything that takes long."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.heads import Head
from mergeometry.errors import DataError
from mergeometry.recipe.adapt import LearningSettings


def check_heads(
    section: LearningSettings, encoder: Encoder, heads: Sequence[Head | None], labels: Sequence[str]
) -> None:
    """Check that the tasks have the heads that the objective needs.

    Raises:
        DataError: a task lacks a head, or the objective needs classes and the model is a language model.
    """
    weights = section.weights
    if encoder.language_model:
        if weights.logits:
            raise DataError(
                "a language model's predictions are matched by their divergence", hint="write adapt: {logits: 0}"
            )
        if weights.alpha or weights.beta:
            raise DataError(
                "a language model has no classes to align features with",
                hint="write adapt: {alpha: 0, beta: 0}, or objective: distill",
            )
        return
    headless = [label for label, head in zip(labels, heads, strict=True) if head is None]
    if headless and section.needs_heads:
        raise DataError(
            f"no head is given for {', '.join(headless)}",
            hint="give the task a safetensors file, head: PATH; only objective: distill works without heads",
        )
    if headless and weights.distill and not weights.hidden:
        raise DataError(
            f"no head is given for {', '.join(headless)}, so there are no predictions to distill",
            hint="give the task a head: PATH, or match only features: adapt: {distill: 0, hidden: 1}",
        )
