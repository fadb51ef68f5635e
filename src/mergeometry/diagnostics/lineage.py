"""Whether a model was fine-tuned from this base: how its weights lie to the base's."""

from __future__ import annotations

import math


def base_alignment(base: float, along: float, update: float) -> float:
    """``cos(W_t, W_0)`` from ``||W_0||^2``, ``<tau_t, W_0>`` and ``||tau_t||^2``, sums over tensors; 0 if undefined.

    Close to 1 for a fine-tune, which moves its weights by a small share of their norm; about 0 for a model that was
    trained from other random numbers, whose weights have nothing to do with the base's.
    """
    model = base + 2 * along + update
    return (base + along) / math.sqrt(base * model) if base > 0 and model > 0 else 0.0
