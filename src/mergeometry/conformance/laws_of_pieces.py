"""Laws of merges computed again, task by task, or a few rows at a time."""

from __future__ import annotations

import torch

from mergeometry.conformance.checks import (
    ROUNDING,
    SINGLE_ROUNDING,
    accepts,
    as_dense,
    expect,
    expect_close,
    leading,
    merge,
    on_threads,
)
from mergeometry.conformance.examples import fisher, low_rank, matrices, matrix
from mergeometry.conformance.law import Check, checks_of
from mergeometry.methods.base import Informed, Method
from mergeometry.values import LowRank


def check_same_bytes(method: Method) -> None:
    """Give the same bytes when called again, and on one thread after two were used."""
    for deltas in (matrices(40, 24), [low_rank(seed, 40, 24) for seed in range(3)]):
        count = leading(method, deltas, [1.0] * 3)
        if not count:
            continue
        asked, threads = deltas[:count], torch.get_num_threads()
        try:
            first = on_threads(method, asked, 1)
            on_threads(method, asked, 2)
            second = on_threads(method, asked, 1)
        finally:
            torch.set_num_threads(threads)
        expect(torch.equal(first, second), "the same bytes", f"a difference of {float((first - second).norm()):.2e}")


def check_parts(method: Method) -> None:
    """Split a merge into parts that sum to it, one per model, where ``has_parts`` is declared; refuse elsewhere."""
    weights = [1.0, 0.5, 2.0]
    thin = [low_rank(seed, 12, 8) for seed in range(3)]
    for deltas in (matrices(12, 8), matrices(7, 11), thin, [thin[0], LowRank.zero(12, 8), thin[2]]):
        if not accepts(method, 3, deltas[0], weights):
            continue
        try:
            parts = method.parts(deltas, weights)
        except ValueError as error:
            expect(not method.has_parts, "parts, as has_parts declares", error)
            continue
        expect(method.has_parts, "has_parts to declare that there are parts", method.has_parts)
        expect(len(parts) == 3, "a part for each of 3 models", len(parts))
        total = torch.stack([as_dense(part).double() for part in parts]).sum(dim=0)
        bound = SINGLE_ROUNDING if isinstance(deltas[0], LowRank) else ROUNDING
        expect_close(total, as_dense(merge(method, deltas, weights)), "the sum of the parts", bound=bound)


def check_rows_alone(method: Method) -> None:
    """Merge a few rows to the same bits as within the whole matrix, where ``pieces`` are entries or rows."""
    if method.pieces not in ("entries", "rows"):
        return
    weights, base = [1.0, 0.5, 2.0], matrix(3, 12, 11)
    for deltas in (matrices(12, 8), [delta.float() for delta in matrices(7, 11)]):
        count = leading(method, deltas, weights)
        if not count:
            continue
        fishers = [fisher(number, deltas[0].shape) for number in range(count)]
        norms = [float(one.norm()) for one in fishers]
        whole_method = method.with_fishers(fishers) if isinstance(method, Informed) else method
        under = base[: deltas[0].shape[0], : deltas[0].shape[1]].to(deltas[0].dtype)
        whole = as_dense(merge(whole_method, deltas[:count], weights[:count], base=under))
        for first, last in ((0, 1), (2, 7)):
            rows = [delta[first:last] for delta in deltas[:count]]
            part = method
            if isinstance(method, Informed):
                part = method.with_fishers([one[first:last] for one in fishers], norms)
            some = as_dense(merge(part, rows, weights[:count], base=under[first:last]))
            expected = f"rows {first} to {last} as within the whole matrix"
            expect(torch.equal(some, whole[first:last]), expected, "different ones")


CHECKS: tuple[Check, ...] = checks_of(check_same_bytes, check_parts, check_rows_alone)
