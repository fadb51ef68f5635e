"""Laws of low-rank task vectors."""

from __future__ import annotations

import torch

from mergeometry.conformance.checks import (
    ROUNDING,
    SINGLE_ROUNDING,
    accepts,
    as_dense,
    at_rank,
    expect,
    expect_close,
    leading,
    merge,
)
from mergeometry.conformance.examples import RANK, low_rank
from mergeometry.conformance.law import Check, checks_of
from mergeometry.methods.base import Method
from mergeometry.values import LowRank


def check_low_rank_equals_dense(method: Method) -> None:
    """Merge adapters, and adapters mixed with full models, as their dense products merge at the same rank.

    It applies where ``adapters_as_dense`` is declared.
    """
    if not method.adapters_as_dense:
        return
    fixed = at_rank(method)
    for m, n in ((12, 9), (9, 12)):
        thin = [low_rank(seed, m, n) for seed in range(3)]
        full = [delta.dense(torch.float64) for delta in thin]
        count = leading(fixed, full, [1.0] * 3)
        if not count:
            continue
        expected = as_dense(merge(fixed, full[:count]))
        mixed = [thin[0], full[1], thin[2]][:count]
        expect_close(as_dense(merge(fixed, thin[:count])), expected, "adapters", bound=SINGLE_ROUNDING)
        if count > 1:
            expect_close(as_dense(merge(fixed, mixed)), expected, "adapters and a full model")


def check_low_rank_result(method: Method) -> None:
    """Give a low-rank merge at most the rank that its adapters have together, up to rounding."""
    for count in (1, 2, 3):
        deltas = [low_rank(seed, 30, 20) for seed in range(count)]
        if not accepts(method, count, deltas[0]):
            continue
        merged = merge(method, deltas)
        if isinstance(merged, LowRank):
            expect(merged.rank <= RANK * count, f"rank at most {RANK * count}", merged.rank)
            values = torch.linalg.svdvals(merged.dense(torch.float64))
            beyond = float(values[RANK * count]) / max(float(values[0]), 1e-300)
            expect(beyond <= ROUNDING, f"no singular value beyond {RANK * count}", f"a share of {beyond:.2e}")


CHECKS: tuple[Check, ...] = checks_of(check_low_rank_equals_dense, check_low_rank_result)
