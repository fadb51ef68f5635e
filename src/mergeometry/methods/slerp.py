"""Slerp: from one model's weights to another's along the arc between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.base import Pieces, Piecewise, Weightwise, merged_in_pieces, parameters
from mergeometry.methods.families.on_sphere import OnSphere

_PARALLEL = 1e-6
"""Sine of an angle below which the two models span no plane: the arc is their chord, or undefined."""


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

    @property
    def pieces(self) -> Pieces:
        """The angle between the whole tensors comes first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of the task vectors and of the base by their shares."""
        return _Arc(weights, shape, self.t, self.dot_threshold)

    def merge(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]]
    ) -> Float[Tensor, "*shape"]:
        """Add both task vectors by their shares, and the base by what the shares exceed one by."""
        return merged_in_pieces(self.piecewise([1.0] * len(deltas), base.shape), deltas, base)


class _Arc(OnSphere):
    """Measures the angle between two models."""

    def __init__(self, weights: Sequence[float], shape: Sequence[int], t: float, dot_threshold: float) -> None:
        super().__init__(weights, shape)
        self._t, self._dot_threshold = t, dot_threshold
        self._squares, self._product = [0.0, 0.0], 0.0

    def add(self, models: Float[Tensor, "tasks count"]) -> float:
        one, other = models
        self._product += float(one.dot(other))
        squares = [float(model.dot(model)) for model in models]
        self._squares = [total + square for total, square in zip(self._squares, squares, strict=True)]
        return sum(squares)

    def factors(self) -> tuple[float | None, list[float]]:
        t, angle = self._t, self._angle()
        if math.sin(angle) < _PARALLEL or abs(math.cos(angle)) > self._dot_threshold:
            return None, [1 - t, t]
        shares = [math.sin(part * angle) / math.sin(angle) for part in (1 - t, t)]
        # The shares' sum minus one, in a form that keeps its digits at the small angles between fine-tunes of one base.
        return 2 * math.sin((1 - t) * angle / 2) * math.sin(t * angle / 2) / math.cos(angle / 2), shares

    def _angle(self) -> float:
        """The angle between the models; 0 where one of them is zero."""
        if 0.0 in self._squares:
            return 0.0
        return math.acos(min(1.0, max(-1.0, self._product / math.sqrt(self._squares[0] * self._squares[1]))))
