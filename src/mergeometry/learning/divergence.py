"""Refuses to go on once the objective, a gradient or a rotation is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from mergeometry.errors import NumericalError
from mergeometry.learning.rotation import TaskRotation

_ORTHOGONAL = 1e-5
"""Largest entry of ``R R^T - I`` for which R counts as a rotation."""


def refuse_divergence(step: int, saved_step: int, loss: float, tensors: Iterable[Tensor] = ()) -> None:
    """Check the objective and tensors after ``step``; ``saved_step`` is the last one that a resumed run has.

    Raises:
        NumericalError: one of them is not finite.
    """
    if math.isfinite(loss) and all(bool(torch.isfinite(tensor.sum())) for tensor in tensors):
        return
    if step == 0:
        hint = "nothing is learned yet: lower `scale`, where learning starts, or set precision: float32"
    else:
        hint = (
            "lower adapt.learning_rate (or rotation_learning_rate), or set precision: float32; "
            f"--resume then continues from step {saved_step}, the last one saved"
        )
    raise NumericalError(f"learning diverged: the objective is not finite at step {step}", hint=hint)


def skewness(rotation: TaskRotation) -> Tensor:
    """The error of ``R R^T - I``; NaN if the coordinates are so large that rounding leaves no rotation.

    The loss may not show this.
    """
    with torch.no_grad():
        turn = rotation.turn()
        error = (turn @ turn.mT - torch.eye(len(turn)).to(turn)).abs()
    return torch.where(error < _ORTHOGONAL, error, torch.nan)
