"""Laws of which models are merged: equal ones, none, one left out, and in any order."""

from __future__ import annotations

import torch

from mergeometry.conformance.checks import (
    ROUNDING,
    accepts,
    as_dense,
    at_rank,
    expect,
    expect_close,
    merge,
    norm_of,
    relative_error,
)
from mergeometry.conformance.examples import low_rank, matrices, matrix
from mergeometry.conformance.law import Check, checks_of
from mergeometry.methods.base import Method
from mergeometry.values import LowRank


def check_equal_models(method: Method) -> None:
    """Merge N equal task vectors, at one rank, to what the method declares in ``equal_models``.

    ``same``: the merge of one of them, or the task vector where one model cannot be merged alone. ``sum``: N times
    it. ``zero``: zero. None: no law.
    """
    law = method.equal_models
    if law is None:
        return
    fixed = at_rank(method)
    for tau in (matrix(0, 12, 8), matrix(1, 7, 11), low_rank(2, 12, 8)):
        for count in (2, 3):
            if not accepts(fixed, count, tau):
                continue
            merged = as_dense(merge(fixed, [tau] * count, inputs=[0] * count))
            if law == "zero":
                expect_close(merged, torch.zeros_like(merged), f"{count} equal models", size=norm_of(tau))
                continue
            single = as_dense(merge(fixed, [tau]) if accepts(fixed, 1, tau) else tau) * (count if law == "sum" else 1)
            expect_close(merged, single, f"{count} equal models")


def check_zero(method: Method) -> None:
    """Merge zero task vectors to zero: models equal to the base, with weights that add up to one, give the base."""
    for count in (1, 2, 3):
        weights = [1 / count] * count
        for zero in (torch.zeros(6, 4, dtype=torch.float64), torch.zeros(4, 6), LowRank.zero(6, 4)):
            if accepts(method, count, zero):
                merged = as_dense(merge(method, [zero] * count, weights))
                expect(not bool(merged.any()), "zeros", f"entries up to {float(merged.abs().max()):.3g}")


def check_zero_weight(method: Method) -> None:
    """Ignore a model of weight zero: the merge is as if it were left out, or as if its task vector were zero."""
    fixed = at_rank(method)
    first, second, third = matrices(12, 8)
    weights = [1.0, 0.0, 0.5]
    if not accepts(fixed, 3, first, weights) or not accepts(fixed, 2, first, [1.0, 0.5]):
        return
    merged = merge(fixed, [first, second, third], weights)
    # With the streams of the models' own names, which a call on plain tensors numbers by their places.
    left_out = merge(fixed.for_tensor(0, "", ["0", "2"]), [first, third], [1.0, 0.5], inputs=[0, 2])
    zeroed = merge(fixed, [first, torch.zeros_like(second), third], [1.0, 1.0, 0.5])
    error = min(relative_error(as_dense(merged), as_dense(other)) for other in (left_out, zeroed))
    expect(error <= ROUNDING, "the merge without the model of weight zero", f"one that differs by {error:.2e}")


def check_order(method: Method) -> None:
    """Give the same merge for every order of the models, where ``order_invariant`` is declared."""
    if not method.order_invariant:
        return
    weights = [1.0, 0.5, 2.0]
    for deltas in (matrices(12, 8), matrices(7, 11), [low_rank(seed, 12, 8) for seed in range(3)]):
        if not accepts(method, 3, deltas[0], weights):
            continue
        merged = as_dense(merge(method, deltas, weights))
        for order in ((1, 0, 2), (2, 0, 1), (2, 1, 0)):
            moved = [deltas[i] for i in order], [weights[i] for i in order]
            other = as_dense(merge(method, *moved, inputs=order))
            expect_close(other, merged, f"models in the order {order}")


CHECKS: tuple[Check, ...] = checks_of(check_equal_models, check_zero, check_zero_weight, check_order)
