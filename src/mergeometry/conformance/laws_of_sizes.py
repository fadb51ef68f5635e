"""Laws of task vectors, weights and activations of other sizes."""

from __future__ import annotations

import torch

from mergeometry.conformance.checks import (
    ROUNDING,
    SINGLE_ROUNDING,
    accepts,
    as_dense,
    expect,
    expect_close,
    merge,
    relative_error,
)
from mergeometry.conformance.examples import drawn, low_rank, matrices
from mergeometry.conformance.law import Check, checks_of
from mergeometry.methods.base import Activational, Informed, Method


def check_scale(method: Method) -> None:
    """Scale with the task vectors, over forty orders of magnitude and through zero: merge(c x) = c merge(x).

    It applies where ``homogeneous`` is declared.
    """
    if not method.homogeneous:
        return
    for dtype, bound in ((torch.float64, ROUNDING), (torch.float32, SINGLE_ROUNDING)):
        for shape in ((12, 8), (7, 11), (9,)):
            # Powers of two, so that the scaled inputs are exact and no rounding can move a threshold.
            deltas = [drawn(seed, shape).to(dtype) for seed in range(3)]
            if not accepts(method, 3, deltas[0]):
                continue
            merged = as_dense(merge(method, deltas)).double()
            for factor in (2.0**66, 2.0**-66, -1.0, 0.25):
                scaled = as_dense(merge(method, [delta * factor for delta in deltas])).double()
                expect_close(scaled / factor, merged, f"task vectors times {factor:.3g} in {dtype}", bound=bound)


def check_weights_scale(method: Method) -> None:
    """Treat one weight for all models as a factor of the merge, or ignore it (weighted means).

    It applies where ``homogeneous`` is declared.
    """
    if not method.homogeneous:
        return
    for factor in (0.5, 3.0):
        deltas = matrices(12, 8)
        if not accepts(method, 3, deltas[0], [factor] * 3):
            continue
        plain, weighed = as_dense(merge(method, deltas)), as_dense(merge(method, deltas, [factor] * 3))
        error = min(relative_error(weighed, plain), relative_error(weighed, plain * factor))
        expect(error <= ROUNDING, f"the merge, or {factor} times it", f"one that differs by {error:.2e}")


def check_size_of_activations(method: Method) -> None:
    """Give the same merge when all activations, or all information, are scaled by one number: only proportions count.

    It applies to methods that need activations, and to those that declare ``normalizes``.
    """
    if not (isinstance(method, Activational) or (isinstance(method, Informed) and method.normalizes)):
        return
    for deltas in (matrices(12, 8), matrices(7, 11), [low_rank(seed, 12, 8) for seed in range(3)]):
        if not accepts(method, 3, deltas[0]):
            continue
        merged = as_dense(merge(method, deltas))
        for kind in ("small", "large"):
            expect_close(as_dense(merge(method, deltas, kind=kind)), merged, f"{kind} activations")


CHECKS: tuple[Check, ...] = checks_of(check_scale, check_weights_scale, check_size_of_activations)
