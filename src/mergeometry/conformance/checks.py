"""How a method is asked, and its answers are held against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from mergeometry.conformance.examples import RANK, drawn, moment
from mergeometry.methods.base import Activational, Method
from mergeometry.values import Delta, LowRank

ROUNDING = 1e-6
"""Largest relative difference (Frobenius) of what is equal in exact arithmetic, for float64 inputs."""

SINGLE_ROUNDING = 1e-5
"""The same where a side is held in float32."""


def at_rank(method: Method) -> Method:
    """The method with a rank in place of an automatic one, which depends on how many models there are."""
    if getattr(method, "rank", None) != "auto":
        return method
    changed: Any = method
    return dataclasses.replace(changed, rank=RANK)


def accepts(method: Method, tasks: int, delta: Delta, weights: Sequence[float] | None = None) -> bool:
    """Whether the method takes so many tensors of this shape with these weights."""
    try:
        method.check(tasks, tuple(delta.shape), [1.0] * tasks if weights is None else weights)
    except ValueError:
        return False
    return True


def leading(method: Method, deltas: Sequence[Delta], weights: Sequence[float]) -> int:
    """How many of the first task vectors the method takes at most; 0 where it does not take two."""
    counts = range(len(deltas), 1, -1)
    return next((count for count in counts if accepts(method, count, deltas[0], weights[:count])), 0)


def merge(
    method: Method,
    deltas: Sequence[Delta],
    weights: Sequence[float] | None = None,
    *,
    inputs: Sequence[int] | None = None,
    kind: str = "usual",
    base: Tensor | None = None,
) -> Delta:
    """The merge; a method that needs activations gets moments of made-up ones, of a kind of `examples.MOMENTS`.

    ``inputs`` says which inputs each task has, by number: 0, 1, 2, ... unless it is given. A method that needs the
    base's weights gets made-up ones, unless they are given.
    """
    if isinstance(method, Activational) and len(deltas[0].shape) == 2:
        numbers = range(len(deltas)) if inputs is None else inputs
        method = method.with_moments([moment(number, deltas[0].shape[1], kind) for number in numbers])
    if method.needs_base and base is None:
        base = drawn(200, deltas[0].shape).to(
            next((own.dtype for own in deltas if isinstance(own, Tensor)), torch.float32)
        )
    return method(deltas, weights, base=base)


def on_threads(method: Method, deltas: Sequence[Delta], threads: int) -> Tensor:
    """The merge, computed on so many threads."""
    torch.set_num_threads(threads)
    with threadpool_limits(limits=threads):
        return as_dense(merge(method, deltas))


def as_dense(delta: Delta) -> Tensor:
    """A merge as one tensor."""
    return delta.dense(torch.float64) if isinstance(delta, LowRank) else delta


def tensors_of(delta: Delta) -> tuple[Tensor, ...]:
    """The tensors that a task vector consists of."""
    return (delta.left, delta.core, delta.right) if isinstance(delta, LowRank) else (delta,)


def norm_of(delta: Delta) -> float:
    """Frobenius norm."""
    return float(as_dense(delta).double().norm())


def relative_error(got: Tensor, expected: Tensor, size: float = 0.0) -> float:
    """Frobenius norm of the difference, relative to ``size`` or else to what was expected."""
    difference = float((got.double() - expected.double()).norm())
    return difference / (size or float(expected.double().norm()) or 1.0)


def expect_close(got: Tensor, expected: Tensor, what: str, size: float = 0.0, bound: float = ROUNDING) -> None:
    """Raise AssertionError unless the relative error is within the bound."""
    error = relative_error(got, expected, size)
    expect(error <= bound, f"{what}: relative error at most {bound:g}", f"{error:.2e}")


def expect(holds: bool, expected: object, got: object) -> None:
    """Raise AssertionError unless it holds."""
    if not holds:
        raise AssertionError(f"expected {expected}, got {got}")
