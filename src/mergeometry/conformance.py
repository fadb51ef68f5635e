"""The laws that every merge method must obey, as data: for this package's methods and for those of plug-ins.

    from mergeometry.conformance import CHECKS, check

    check(MyMethod(strength=0.5))           # the first law that is broken raises AssertionError

    @pytest.mark.parametrize("law", CHECKS, ids=lambda law: law.name)
    def test_my_method(law):                # or one test for each law, in any framework
        law.run(MyMethod(strength=0.5))

A law binds a method only on what its own ``check`` accepts: shapes, numbers of models and weights that it
refuses are left out. Laws that differ between families are declared by the method and held against it here:
``equal_models``, ``order_invariant``, ``homogeneous``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from mergeometry.methods.base import Method
from mergeometry.values import Delta, LowRank

ROUNDING = 1e-6
"""Largest relative difference (Frobenius) of what is equal in exact arithmetic, for float64 inputs."""

SINGLE_ROUNDING = 1e-5
"""The same where a side is held in float32."""

RANK = 3
"""Rank of low-rank examples, and of methods whose automatic rank would differ between the sides of a law."""


@dataclass(frozen=True, slots=True)
class Check:
    """One law; ``run`` raises AssertionError with what was expected and what came."""

    name: str
    law: str
    run: Callable[[Method], None]


def check(method: Method) -> None:
    """Hold a method against every law.

    Raises:
        AssertionError: it breaks one; the message starts with the law's name.
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


# ------------------------------------------------------------------------------------------------------ the laws


@_law
def check_equal_models(method: Method) -> None:
    """Merge N equal task vectors, at one rank, to what the method declares in ``equal_models``.

    ``same``: that one's own merge. ``sum``: N times it. ``zero``: nothing. None: no law.
    """
    law = method.equal_models
    if law is None:
        return
    fixed = _at_rank(method)
    for tau in (_matrix(0, 12, 8), _matrix(1, 7, 11), _low_rank(2, 12, 8)):
        for count in (2, 3):
            if not _accepts(fixed, count, tau):
                continue
            merged = _dense(fixed([tau] * count))
            if law == "zero":
                _expect_close(merged, torch.zeros_like(merged), f"{count} equal models", size=_size(tau))
                continue
            own = _dense(fixed([tau])) * (count if law == "sum" else 1)
            _expect_close(merged, own, f"{count} equal models")


@_law
def check_zero(method: Method) -> None:
    """Merge zero task vectors to zero: models equal to the base give the base."""
    for count in (1, 2, 3):
        for zero in (torch.zeros(6, 4, dtype=torch.float64), torch.zeros(4, 6), LowRank.zero(6, 4)):
            if _accepts(method, count, zero):
                merged = _dense(method([zero] * count))
                _expect(not bool(merged.any()), "zeros", f"entries up to {float(merged.abs().max()):.3g}")


@_law
def check_zero_weight(method: Method) -> None:
    """Let a model of weight zero add nothing: it is as if left out, or as if its task vector were zero."""
    fixed = _at_rank(method)
    first, second, third = _matrices(12, 8)
    weights = [1.0, 0.0, 0.5]
    if not _accepts(fixed, 3, first, weights) or not _accepts(fixed, 2, first, [1.0, 0.5]):
        return
    merged = fixed([first, second, third], weights)
    left_out = fixed([first, third], [1.0, 0.5])
    zeroed = fixed([first, torch.zeros_like(second), third], [1.0, 1.0, 0.5])
    error = min(_error(_dense(merged), _dense(left_out)), _error(_dense(merged), _dense(zeroed)))
    _expect(error <= ROUNDING, "the merge without the model of weight zero", f"one that differs by {error:.2e}")


@_law
def check_order(method: Method) -> None:
    """Give the same merge for every order of the models, where ``order_invariant`` is declared."""
    if not method.order_invariant:
        return
    weights = [1.0, 0.5, 2.0]
    for deltas in (_matrices(12, 8), _matrices(7, 11), [_low_rank(seed, 12, 8) for seed in range(3)]):
        if not _accepts(method, 3, deltas[0], weights):
            continue
        merged = _dense(method(deltas, weights))
        for order in ((1, 0, 2), (2, 0, 1), (2, 1, 0)):
            other = _dense(method([deltas[i] for i in order], [weights[i] for i in order]))
            _expect_close(other, merged, f"models in the order {order}")


@_law
def check_shape_and_dtype(method: Method) -> None:
    """Keep shape and dtype: float32 task vectors give float32, float64 ones float64, beside adapters too."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((12, 8), (7, 11), (5, 5)):
            dense = [_matrix(seed, *shape).to(dtype) for seed in range(2)]
            for deltas in (dense, [_low_rank(3, *shape), dense[0]], [dense[0], _low_rank(3, *shape)]):
                if not _accepts(method, 2, dense[0]):
                    continue
                merged = method(deltas)
                got = (type(merged).__name__, tuple(merged.shape), getattr(merged, "dtype", None))
                _expect(got == ("Tensor", shape, dtype), ("Tensor", shape, dtype), got)


@_law
def check_inputs_untouched(method: Method) -> None:
    """Leave the task vectors, and the list that holds them, as they were."""
    for deltas in (_matrices(12, 8), [_low_rank(seed, 12, 8) for seed in range(3)]):
        if not _accepts(method, 3, deltas[0], [1.0, 0.5, 2.0]):
            continue
        held, weights = list(deltas), [1.0, 0.5, 2.0]
        before = [part.clone() for delta in deltas for part in _parts(delta)]
        method(held, weights)
        after = [part for delta in deltas for part in _parts(delta)]
        same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        _expect(same, "inputs as they were", "changed entries")
        _expect(
            weights == [1.0, 0.5, 2.0] and all(a is b for a, b in zip(held, deltas, strict=True)),
            "the same lists",
            "changed ones",
        )


@_law
def check_finite(method: Method) -> None:
    """Return finite numbers for finite ones, whatever their shape, rank, spectrum or size."""
    for name, deltas in _hard_cases():
        if not _accepts(method, len(deltas), deltas[0]):
            continue
        merged = method(deltas)
        _expect(tuple(merged.shape) == tuple(deltas[0].shape), f"{name}: {tuple(deltas[0].shape)}", merged.shape)
        wrong = sum(int((~torch.isfinite(part)).sum()) for part in (*_parts(merged), _dense(merged)))
        _expect(wrong == 0, f"{name}: finite numbers", f"{wrong} that are not")


@_law
def check_scale(method: Method) -> None:
    """Scale with the task vectors, over forty orders of magnitude and through zero: merge(c x) = c merge(x).

    It binds where ``homogeneous`` is declared.
    """
    if not method.homogeneous:
        return
    for dtype, bound in ((torch.float64, ROUNDING), (torch.float32, SINGLE_ROUNDING)):
        for shape in ((12, 8), (7, 11), (9,)):
            # Powers of two, so that the scaled inputs are exact and no rounding may move a threshold.
            deltas = [_tensor(seed, shape).to(dtype) for seed in range(3)]
            if not _accepts(method, 3, deltas[0]):
                continue
            merged = _dense(method(deltas)).double()
            for factor in (2.0**66, 2.0**-66, -1.0, 0.25):
                scaled = _dense(method([delta * factor for delta in deltas])).double()
                _expect_close(scaled / factor, merged, f"task vectors times {factor:.3g} in {dtype}", bound=bound)


@_law
def check_weights_scale(method: Method) -> None:
    """Take a weight of all models alike for a factor of the merge, or for nothing (weighted means).

    It binds where ``homogeneous`` is declared.
    """
    if not method.homogeneous:
        return
    for factor in (0.5, 3.0):
        deltas = _matrices(12, 8)
        if not _accepts(method, 3, deltas[0], [factor] * 3):
            continue
        plain, weighed = _dense(method(deltas)), _dense(method(deltas, [factor] * 3))
        error = min(_error(weighed, plain), _error(weighed, plain * factor))
        _expect(error <= ROUNDING, f"the merge, or {factor} times it", f"one that differs by {error:.2e}")


@_law
def check_low_rank_equals_dense(method: Method) -> None:
    """Merge adapters, and adapters among full models, to what their dense products give at the same rank."""
    fixed = _at_rank(method)
    for m, n in ((12, 9), (9, 12)):
        thin = [_low_rank(seed, m, n) for seed in range(3)]
        full = [delta.dense(torch.float64) for delta in thin]
        if not _accepts(fixed, 3, full[0]):
            continue
        expected = _dense(fixed(full))
        _expect_close(_dense(fixed(thin)), expected, "adapters", bound=SINGLE_ROUNDING)
        _expect_close(_dense(fixed([thin[0], full[1], thin[2]])), expected, "adapters and a full model")


@_law
def check_low_rank_result(method: Method) -> None:
    """Give a low-rank merge no more rank than its adapters have together, and no entry but of their size."""
    for count in (1, 2, 3):
        deltas = [_low_rank(seed, 30, 20) for seed in range(count)]
        if not _accepts(method, count, deltas[0]):
            continue
        merged = method(deltas)
        if isinstance(merged, LowRank):
            _expect(merged.rank <= RANK * count, f"rank at most {RANK * count}", merged.rank)
            values = torch.linalg.svdvals(merged.dense(torch.float64))
            beyond = float(values[RANK * count]) / max(float(values[0]), 1e-300)
            _expect(beyond <= ROUNDING, f"no singular value beyond {RANK * count}", f"a share of {beyond:.2e}")


@_law
def check_same_bytes(method: Method) -> None:
    """Give the same bytes when asked again, and on one thread after two were used."""
    for deltas in (_matrices(40, 24), [_low_rank(seed, 40, 24) for seed in range(3)]):
        if not _accepts(method, 3, deltas[0]):
            continue
        threads = torch.get_num_threads()
        try:
            first = _pinned(method, deltas, 1)
            _pinned(method, deltas, 2)
            second = _pinned(method, deltas, 1)
        finally:
            torch.set_num_threads(threads)
        _expect(torch.equal(first, second), "the same bytes", f"a difference of {float((first - second).norm()):.2e}")


@_law
def check_parts(method: Method) -> None:
    """Cut a merge into parts that sum to it, one for each model, where ``has_parts`` is declared; refuse elsewhere."""
    weights = [1.0, 0.5, 2.0]
    thin = [_low_rank(seed, 12, 8) for seed in range(3)]
    for deltas in (_matrices(12, 8), _matrices(7, 11), thin, [thin[0], LowRank.zero(12, 8), thin[2]]):
        if not _accepts(method, 3, deltas[0], weights):
            continue
        try:
            parts = method.parts(deltas, weights)
        except ValueError as error:
            _expect(not method.has_parts, "parts, as has_parts declares", error)
            continue
        _expect(method.has_parts, "has_parts to declare that there are parts", method.has_parts)
        _expect(len(parts) == 3, "a part for each of 3 models", len(parts))
        total = torch.stack([_dense(part).double() for part in parts]).sum(dim=0)
        bound = SINGLE_ROUNDING if isinstance(deltas[0], LowRank) else ROUNDING
        _expect_close(total, _dense(method(deltas, weights)), "the sum of the parts", bound=bound)


CHECKS: tuple[Check, ...] = tuple(_collected)
"""Every law, in the order in which `check` runs them."""


# ----------------------------------------------------------------------------------------------------- examples


def _hard_cases() -> list[tuple[str, list[Delta]]]:
    """Examples that break careless arithmetic, as (what they are, task vectors)."""
    normal = _matrix(0, 12, 8)
    flat = torch.linalg.qr(normal)[0]
    thin = _low_rank(0, 12, 8)
    cases: list[tuple[str, list[Delta]]] = [
        ("0-d", [_tensor(seed, ()) for seed in range(2)]),
        ("vector", [_tensor(seed, (7,)) for seed in range(2)]),
        ("4-d", [_tensor(seed, (3, 2, 2, 2)) for seed in range(2)]),
        *((f"empty {shape}", [torch.zeros(shape)] * 2) for shape in ((0,), (0, 5), (5, 0), (0, 0))),
        *(
            (f"shape {shape}", [_tensor(seed, shape) for seed in range(2)])
            for shape in ((1, 6), (6, 1), (1, 1), (2, 9))
        ),
        ("more tasks than rank", [_matrix(seed, 4, 3) for seed in range(8)]),
        ("rank deficient", [normal[:, :2] @ normal[:2], _matrix(1, 12, 8)]),
        ("rank one", [torch.outer(normal[:, t], normal[t]) for t in range(3)]),
        (
            "one entry",
            [torch.zeros(12, 8).index_put((torch.tensor(3), torch.tensor(t)), torch.tensor(1.0)) for t in (1, 2)],
        ),
        ("a zero task vector", [normal, torch.zeros(12, 8, dtype=torch.float64), _matrix(1, 12, 8)]),
        ("equal", [normal, normal]),
        ("opposite", [normal, -normal]),
        ("repeated singular values", [flat, flat.roll(1, dims=0)]),
        ("identities", [torch.eye(6), 2 * torch.eye(6)]),
        ("equal entries", [torch.ones(12, 8), torch.ones(12, 8)]),
        ("adapters of rank zero", [LowRank.zero(12, 8), thin]),
        ("only adapters of rank zero", [LowRank.zero(12, 8)] * 2),
        ("adapters of zeros", [LowRank(torch.zeros(12, 3), torch.eye(3), torch.zeros(8, 3)), thin]),
        ("adapters of more rank than sides", [_low_rank(seed, 2, 8) for seed in range(2)]),
        ("equal adapters", [thin, thin]),
        ("opposite adapters", [thin, thin.scaled(-1.0)]),
        ("an adapter and a full model", [thin, normal]),
    ]
    for size in (1e-20, 1e20):
        cases.append((f"size {size}", [_matrix(seed, 12, 8).float() * size for seed in range(3)]))
        cases.append((f"adapters of size {size}", [_low_rank(seed, 12, 8).scaled(size) for seed in range(3)]))
        cases.append((f"size {size} beside 1", [_matrix(0, 12, 8).float(), _matrix(1, 12, 8).float() * size]))
    return cases


def _tensor(seed: int, shape: Sequence[int]) -> Tensor:
    return torch.randn(tuple(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _matrix(seed: int, m: int, n: int) -> Tensor:
    """A matrix of the spectrum 1, 1/2, 1/3, ... in random directions: nothing is near a tie."""
    short = min(m, n)
    left, right = (torch.linalg.qr(_tensor(7 * seed + side, (side, short)))[0] for side in (m, n))
    return left / torch.arange(1, short + 1, dtype=torch.float64) @ right.mT


def _matrices(m: int, n: int) -> list[Tensor]:
    return [_matrix(seed, m, n) for seed in range(3)]


def _low_rank(seed: int, m: int, n: int) -> LowRank:
    core = torch.diag(1 / torch.arange(1, RANK + 1))
    return LowRank(_tensor(2 * seed, (m, RANK)).float(), core, _tensor(2 * seed + 1, (n, RANK)).float())


def _at_rank(method: Method) -> Method:
    """The method with a rank in place of an automatic one, which depends on how many models there are."""
    if getattr(method, "rank", None) != "auto":
        return method
    changed: Any = method
    return dataclasses.replace(changed, rank=RANK)


def _accepts(method: Method, tasks: int, delta: Delta, weights: Sequence[float] | None = None) -> bool:
    try:
        method.check(tasks, tuple(delta.shape), [1.0] * tasks if weights is None else weights)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------------------------------- comparisons


def _pinned(method: Method, deltas: Sequence[Delta], threads: int) -> Tensor:
    torch.set_num_threads(threads)
    with threadpool_limits(limits=threads):
        return _dense(method(deltas))


def _dense(delta: Delta) -> Tensor:
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta


def _parts(delta: Delta) -> tuple[Tensor, ...]:
    return (delta.left, delta.core, delta.right) if isinstance(delta, LowRank) else (delta,)


def _size(delta: Delta) -> float:
    return float(_dense(delta).double().norm())


def _error(got: Tensor, expected: Tensor, size: float = 0.0) -> float:
    difference = float((got.double() - expected.double()).norm())
    return difference / (size or float(expected.double().norm()) or 1.0)


def _expect_close(got: Tensor, expected: Tensor, what: str, size: float = 0.0, bound: float = ROUNDING) -> None:
    error = _error(got, expected, size)
    _expect(error <= bound, f"{what}: relative error at most {bound:g}", f"{error:.2e}")


def _expect(holds: bool, expected: object, got: object) -> None:
    if not holds:
        raise AssertionError(f"expected {expected}, got {got}")
