"""The laws, in the order in which they are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

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
    norm_of,
    on_threads,
    relative_error,
    tensors_of,
)
from mergeometry.conformance.examples import MOMENTS, RANK, drawn, hard_cases, low_rank, matrices, matrix
from mergeometry.methods.base import Activational, Method
from mergeometry.values import LowRank


@dataclass(frozen=True, slots=True)
class Check:
    """One law; ``run`` raises AssertionError with the expected and the actual result."""

    name: str
    law: str
    run: Callable[[Method], None]


def check(method: Method) -> None:
    """Check a method against every law.

    Raises:
        AssertionError: the method breaks a law; the message starts with the law's name.
    """
    for law in CHECKS:
        try:
            law.run(method)
        except AssertionError as error:
            raise AssertionError(f"{law.name}: {error}") from error


_collected: list[Check] = []


def _law(function: Callable[[Method], None]) -> Callable[[Method], None]:
    name = function.__name__.removeprefix("check_")
    _collected.append(Check(name, " ".join((function.__doc__ or "").split()), function))
    return function


@_law
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


@_law
def check_zero(method: Method) -> None:
    """Merge zero task vectors to zero: models equal to the base, with weights that add up to one, give the base."""
    for count in (1, 2, 3):
        weights = [1 / count] * count
        for zero in (torch.zeros(6, 4, dtype=torch.float64), torch.zeros(4, 6), LowRank.zero(6, 4)):
            if accepts(method, count, zero):
                merged = as_dense(merge(method, [zero] * count, weights))
                expect(not bool(merged.any()), "zeros", f"entries up to {float(merged.abs().max()):.3g}")


@_law
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


@_law
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


@_law
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


@_law
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


@_law
def check_finite(method: Method) -> None:
    """Return finite numbers for finite task vectors and activations of any shape, rank, spectrum or size."""
    kinds = MOMENTS if isinstance(method, Activational) else MOMENTS[:1]
    for (case, deltas), kind in product(hard_cases(), kinds):
        count = leading(method, deltas, [1.0] * len(deltas))
        if not count:
            continue
        name = case if kind == MOMENTS[0] else f"{case}, moments {kind}"
        merged = merge(method, deltas[:count], kind=kind)
        expect(tuple(merged.shape) == tuple(deltas[0].shape), f"{name}: {tuple(deltas[0].shape)}", merged.shape)
        wrong = sum(int((~torch.isfinite(part)).sum()) for part in (*tensors_of(merged), as_dense(merged)))
        expect(wrong == 0, f"{name}: finite numbers", f"{wrong} that are not")


@_law
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


@_law
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


@_law
def check_size_of_activations(method: Method) -> None:
    """Give the same merge when all activations are scaled by one number: only directions and proportions count.

    It applies to methods that need activations.
    """
    if not isinstance(method, Activational):
        return
    for deltas in (matrices(12, 8), matrices(7, 11), [low_rank(seed, 12, 8) for seed in range(3)]):
        if not accepts(method, 3, deltas[0]):
            continue
        merged = as_dense(merge(method, deltas))
        for kind in ("small", "large"):
            expect_close(as_dense(merge(method, deltas, kind=kind)), merged, f"{kind} activations")


@_law
def check_low_rank_equals_dense(method: Method) -> None:
    """Merge adapters, and adapters mixed with full models, as their dense products merge at the same rank."""
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


@_law
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


@_law
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


@_law
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


@_law
def check_rows_alone(method: Method) -> None:
    """Merge a few rows to the same bits as within the whole matrix, where ``pieces`` are entries or rows."""
    if method.pieces not in ("entries", "rows"):
        return
    weights, base = [1.0, 0.5, 2.0], matrix(3, 12, 11)
    for deltas in (matrices(12, 8), [delta.float() for delta in matrices(7, 11)]):
        count = leading(method, deltas, weights)
        if not count:
            continue
        under = base[: deltas[0].shape[0], : deltas[0].shape[1]].to(deltas[0].dtype)
        whole = as_dense(merge(method, deltas[:count], weights[:count], base=under))
        for first, last in ((0, 1), (2, 7)):
            rows = [delta[first:last] for delta in deltas[:count]]
            some = as_dense(merge(method, rows, weights[:count], base=under[first:last]))
            expected = f"rows {first} to {last} as within the whole matrix"
            expect(torch.equal(some, whole[first:last]), expected, "different ones")


CHECKS: tuple[Check, ...] = tuple(_collected)
"""Every law, in the order in which `check` runs them."""
