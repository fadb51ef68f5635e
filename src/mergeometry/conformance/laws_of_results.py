"""Laws of what a merge returns, and of what it leaves alone."""

from __future__ import annotations

from itertools import product

import torch

from mergeometry.conformance.checks import as_dense, expect, leading, merge, tensors_of
from mergeometry.conformance.examples import MOMENTS, hard_cases, low_rank, matrices, matrix
from mergeometry.conformance.law import Check, checks_of
from mergeometry.methods.base import Activational, Informed, Method


def check_shape_and_dtype(method: Method) -> None:
    """Keep shape and dtype: float32 task vectors give float32, float64 ones float64, mixed with adapters too."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((12, 8), (7, 11), (5, 5)):
            dense = [matrix(seed, *shape).to(dtype) for seed in range(2)]
            for deltas in (dense, [low_rank(3, *shape), dense[0]], [dense[0], low_rank(3, *shape)]):
                count = leading(method, deltas, [1.0] * 2)
                if not count:
                    continue
                # A method of one model gets the dense one: an adapter alone gives the precision of its factors.
                merged = merge(method, deltas if count == 2 else dense[:count])
                got = (type(merged).__name__, tuple(merged.shape), getattr(merged, "dtype", None))
                expect(got == ("Tensor", shape, dtype), ("Tensor", shape, dtype), got)


def check_inputs_untouched(method: Method) -> None:
    """Leave the task vectors, and the list that holds them, as they were."""
    for deltas in (matrices(12, 8), [low_rank(seed, 12, 8) for seed in range(3)]):
        count = leading(method, deltas, [1.0, 0.5, 2.0])
        if not count:
            continue
        held, weights = list(deltas[:count]), [1.0, 0.5, 2.0][:count]
        before = [part.clone() for delta in deltas for part in tensors_of(delta)]
        merge(method, held, weights)
        after = [part for delta in deltas for part in tensors_of(delta)]
        same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        expect(same, "inputs as they were", "changed entries")
        expect(
            weights == [1.0, 0.5, 2.0][:count] and all(a is b for a, b in zip(held, deltas[:count], strict=True)),
            "the same lists",
            "changed ones",
        )


def check_finite(method: Method) -> None:
    """Return finite numbers for finite task vectors and inputs of any shape, rank, spectrum or size."""
    kinds = MOMENTS if isinstance(method, Activational | Informed) else MOMENTS[:1]
    for (case, deltas), kind in product(hard_cases(), kinds):
        count = leading(method, deltas, [1.0] * len(deltas))
        if not count:
            continue
        name = case if kind == MOMENTS[0] else f"{case}, inputs {kind}"
        merged = merge(method, deltas[:count], kind=kind)
        expect(tuple(merged.shape) == tuple(deltas[0].shape), f"{name}: {tuple(deltas[0].shape)}", merged.shape)
        wrong = sum(int((~torch.isfinite(part)).sum()) for part in (*tensors_of(merged), as_dense(merged)))
        expect(wrong == 0, f"{name}: finite numbers", f"{wrong} that are not")


CHECKS: tuple[Check, ...] = checks_of(check_shape_and_dtype, check_inputs_untouched, check_finite)
