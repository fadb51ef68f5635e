"""How far a merged matrix answers a task's own input directions otherwise than the task's update does."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from mergeometry.values import Delta, Directions, LowRank


def disturbance_terms(directions: Directions, merged: Delta) -> dict[str, float]:
    """The sums of `disturbance`, which add up over matrices.

    With ``A = tau V_t S_t`` and ``B = U_t S_t^2``: ``||A||_F^2``, ``<A, B>`` and ``||B||_F^2``.
    """
    own: Float[Tensor, "m k"] = directions.left * directions.values.square()
    merged_answer = _answer(merged, directions.right) * directions.values
    return {
        "response": float(merged_answer.square().sum()),
        "answered": float((merged_answer * own).sum()),
        "own_response": float(own.square().sum()),
    }


def disturbance(directions: Directions, merged: Delta) -> float:
    """``||(tau - tau_t) V_t S_t||_F / ||tau_t V_t S_t||_F``: 0 where the merge answers a task's inputs as its expert.

    A task's inputs lie mostly in the span of its update's leading right directions, with weight ``S_t``; 1 is what a
    merge that does not answer at all has. It is the loss of WUDI-Merging for one task, without the other inputs.

    Source: after Cheng et al. 2025, Whoever started the interference should end it, arXiv 2503.08099, equation 5.
    """
    terms = disturbance_terms(directions, merged)
    if not terms["own_response"] > 0:
        return 0.0
    away = terms["response"] - 2 * terms["answered"] + terms["own_response"]
    return math.sqrt(max(0.0, away) / terms["own_response"])


def _answer(merged: Delta, right: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
    if isinstance(merged, LowRank):
        return merged.left.double() @ (merged.core.double() @ (merged.right.double().mT @ right.double()))
    return merged.double() @ right.double()
