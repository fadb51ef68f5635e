"""The learning rate's course over a training run."""

from __future__ import annotations

import math


def warm_cosine(step: int, total: int, warmup: float) -> float:
    """The share of the full rate at a step: rising over the ``warmup`` share of all steps, then half a cosine."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
