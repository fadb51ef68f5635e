"""Slerp: from one model's weights to another's along the arc between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.methods.base import Weightwise, parameters

_PARALLEL = 1e-6
"""Sine of an angle below which the two models span no plane: the arc is their chord, or undefined."""

_ENTRIES = 1 << 17
"""Entries held in float64 at a time."""


@parameters
class Slerp(Weightwise):
    """Interpolate between the weights of two models along the arc between them, tensor by tensor.

    Law: with ``omega`` the angle between ``W_1`` and ``W_2``, each tensor taken as one vector,
    ``W = (sin((1 - t) omega) W_1 + sin(t omega) W_2) / sin(omega)``, and ``tau = W - W_0``. Where one of the two is
    zero, or they are parallel or opposite to within 1e-6, or the cosine's magnitude exceeds ``dot_threshold``, it is
    ``W = (1 - t) W_1 + t W_2``.
    """

    source: ClassVar[str] = (
        "Shoemake 1985, Animating rotation with quaternion curves; of models as in MergeKit, arXiv 2403.13257"
    )
    order_invariant: ClassVar[bool] = False

    t: Annotated[float, Field(ge=0, le=1, description="where on the arc: 0 is the first model, 1 the second")] = 0.5
    dot_threshold: Annotated[
        float, Field(ge=0, le=1, description="magnitude of the cosine above which a straight line replaces the arc")
    ] = 1.0

    @property
    def equal_models(self) -> Literal["same"]:
        """The arc has no length."""
        return "same"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse any number of models but two."""
        super().check(tasks, shape, weights)
        if tasks != 2:
            raise ValueError(f"slerp interpolates between two models, got {tasks}")

    def merge(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]]
    ) -> Float[Tensor, "*shape"]:
        """Add both task vectors by their shares, and the base by what the shares exceed one by."""
        first, second = deltas
        angle = _angle(base, first, second)
        if math.sin(angle) < _PARALLEL or abs(math.cos(angle)) > self.dot_threshold:
            return (first * (1 - self.t)).add_(second, alpha=self.t)
        shares = [math.sin(part * angle) / math.sin(angle) for part in (1 - self.t, self.t)]
        # The shares' sum minus one, in a form that keeps its digits at the small angles between fine-tunes of one base.
        beyond = 2 * math.sin((1 - self.t) * angle / 2) * math.sin(self.t * angle / 2) / math.cos(angle / 2)
        return (base * beyond).add_(first, alpha=shares[0]).add_(second, alpha=shares[1])


def _angle(base: Float[Tensor, "*shape"], first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"]) -> float:
    """The angle between ``base + first`` and ``base + second``; 0 where one of them is zero."""
    squares, product = [0.0, 0.0], 0.0
    rows = max(1, _ENTRIES * max(1, len(base)) // max(1, base.numel())) if base.dim() else 1
    for block in zip(*(torch.atleast_1d(each).split(rows) for each in (base, first, second)), strict=True):
        weights, *deltas = (each.double() for each in block)
        one, other = (weights + delta for delta in deltas)
        squares = [square + float(model.square().sum()) for square, model in zip(squares, (one, other), strict=True)]
        product += float((one * other).sum())
    if 0.0 in squares:
        return 0.0
    return math.acos(min(1.0, max(-1.0, product / math.sqrt(squares[0] * squares[1]))))
