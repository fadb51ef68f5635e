"""Converts merged values to the dtype that is written, and refuses numbers that it cannot hold."""

from __future__ import annotations

import math

from mergeometry.deferred import Float, Shaped, Tensor, torch
from mergeometry.dtypes import codes, torch_dtype
from mergeometry.errors import NumericalError
from mergeometry.execution.finite import surely_finite, tally
from mergeometry.plan.tasks import TensorTask


def as_stored(task: TensorTask, values: Shaped[Tensor, "*shape"], code: str, scale: float) -> Shaped[Tensor, "*shape"]:
    """Merged values in the dtype that they are written in.

    Raises:
        NumericalError: a value becomes NaN or infinite, or leaves the dtype's range.
    """
    stored = values.to(torch_dtype(code))
    _check(task, values, stored, scale)
    return stored


def store(task: TensorTask, values: Float[Tensor, " count"], stored: Float[Tensor, " count"], scale: float) -> None:
    """Convert the same into memory that is there, which may be that of the values.

    Raises:
        NumericalError: a value becomes NaN or infinite, or leaves the dtype's range.
    """
    if stored is not values:
        stored.copy_(values)
    _check(task, values, stored, scale)


def _check(task: TensorTask, values: Tensor, stored: Tensor, scale: float) -> None:
    bad = _misrepresented(values, stored)
    if bad:
        told = tally(bad, values.numel(), math.prod(task.shape))
        raise NumericalError(
            f"{told} merged values are NaN or infinite in {codes()[stored.dtype]}",
            tensor=task.name,
            hint=f"method {task.steps}, scale {scale}: lower the scale, or set output.dtype wider",
        )


def _misrepresented(values: Tensor, stored: Tensor) -> int:
    """How many values became NaN or infinite, or were clamped to the largest number of a narrow dtype."""
    if stored.itemsize == 1:
        # torch clamps to float8_e4m3fn silently, infinity included; values that round to the largest lose nothing.
        limits = torch.finfo(stored.dtype)
        return int((~(values.abs() <= limits.max * (1 + limits.eps / 4))).sum())
    return 0 if surely_finite(stored) else int((~torch.isfinite(stored)).sum())
