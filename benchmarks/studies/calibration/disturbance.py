"""How far a merged matrix answers a task's own input directions otherwise than the task's update does."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mergeometry.values import Delta, Directions, LowRank


def disturbance_terms(directions: Directions, merged: Delta) -> dict[str, float]:
    """The sums of ``||(tau - tau_t) V_t S_t||_F / ||tau_t V_t S_t||_F``, which add up over matrices.

    A task's inputs lie mostly in the span of its update's leading right directions, with weight ``S_t``: 0 is where
    the merge answers them as the expert does. With ``A = tau V_t S_t`` and ``B = U_t S_t^2`` these are ``||A||_F^2``,
    ``<A, B>`` and ``||B||_F^2``.

    Source: after WUDI-Merging, Cheng et al. 2025, arXiv 2503.08099, section 4.
    """
    own: Float[Tensor, "m k"] = directions.left * directions.values.square()
    merged_answer = _answer(merged, directions.right) * directions.values
    return {
        "response": float(merged_answer.square().sum()),
        "answered": float((merged_answer * own).sum()),
        "own_response": float(own.square().sum()),
    }


def _answer(merged: Delta, right: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
    if isinstance(merged, LowRank):
        return merged.left.double() @ (merged.core.double() @ (merged.right.double().mT @ right.double()))
    return merged.double() @ right.double()
