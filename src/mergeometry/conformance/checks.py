"""How the laws call a method and compare its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from mergeometry.conformance.examples import RANK, drawn, fisher, moment
from mergeometry.methods.base import Activational, Informed, Method
from mergeometry.values import Delta, LowRank

ROUNDING = 1e-6
"""Largest relative difference (Frobenius) between values equal in exact arithmetic, for float64 inputs."""

SINGLE_ROUNDING = 1e-5
"""The same where one of them is in float32."""


def at_rank(method: Method) -> Method:
    """The method with a fixed rank instead of an automatic one, which depends on the number of models."""
    if getattr(method, "rank", None) != "auto":
        return method
    changed: Any = method
    return dataclasses.replace(changed, rank=RANK)


def accepts(method: Method, tasks: int, delta: Delta, weights: Sequence[float] | None = None) -> bool:
    """Whether the method accepts ``tasks`` tensors of this shape with these weights."""
    try:
        method.check(tasks, tuple(delta.shape), [1.0] * tasks if weights is None else weights)
    except ValueError:
        return False
    return True


def leading(method: Method, deltas: Sequence[Delta], weights: Sequence[float]) -> int:
    """The largest number of leading task vectors that the method accepts; 0 where it accepts none."""
    counts = range(len(deltas), 0, -1)
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
    """Merge; a method that needs activations or Fisher information gets random ones, of a kind from `examples.MOMENTS`.

    ``inputs`` numbers the inputs that each task has, by default 0, 1, 2, ... A method that needs the base's weights
    gets random ones unless they are given.
    """
    if isinstance(method, Activational) and len(deltas[0].shape) == 2:
        numbers = range(len(deltas)) if inputs is None else inputs
        method = method.with_moments([moment(number, deltas[0].shape[1], kind) for number in numbers])
    if isinstance(method, Informed) and not method.is_informed:
        numbers = range(len(deltas)) if inputs is None else inputs
        method = method.with_fishers([fisher(number, deltas[0].shape, kind) for number in numbers])
    if method.needs_base and base is None:
        base = drawn(200, deltas[0].shape).to(
            next((delta.dtype for delta in deltas if isinstance(delta, Tensor)), torch.float32)
        )
    return method(deltas, weights, base=base)


def on_threads(method: Method, deltas: Sequence[Delta], threads: int) -> Tensor:
    """The merge, computed on ``threads`` threads."""
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
    """Frobenius norm of the difference, relative to ``size`` or else to the expected tensor."""
    difference = float((got.double() - expected.double()).norm())
    return difference / (size or float(expected.double().norm()) or 1.0)


def expect_close(got: Tensor, expected: Tensor, what: str, size: float = 0.0, bound: float = ROUNDING) -> None:
    """Raise AssertionError unless the relative error is within the bound."""
    error = relative_error(got, expected, size)
    expect(error <= bound, f"{what}: relative error at most {bound:g}", f"{error:.2e}")


def expect(holds: bool, expected: object, got: object) -> None:
    """Raise AssertionError unless the condition holds."""
    if not holds:
        raise AssertionError(f"expected {expected}, got {got}")
