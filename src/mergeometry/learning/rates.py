"""Learning rates where the recipe gives none; found on the suite's validation texts, see docs/learning.md."""

from __future__ import annotations

from mergeometry.recipe.adapt import LearningSettings

_DISTILLED = {"task": 0.03, "layer": 0.03, "tensor": 0.03, "direction": 0.05, "pair": 0.01, "fixed": 0.01}
_PREDICTED = 1e-3
"""What the papers use (AdaMerging, MDA): the entropy of predictions leads astray at larger steps."""

_ROTATION = 1e-3


def rates_of(section: LearningSettings) -> tuple[float, float]:
    """Adam's rates for coefficients and for rotations."""
    distilled = section.weights.entropy == 0
    usual = _DISTILLED[section.coefficients] if distilled else _PREDICTED
    return section.learning_rate or usual, section.rotation_learning_rate or _ROTATION
