"""NuSlerp: from one task vector to another along the arc between them, whole or row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.by_row import inner_by_row, scaled_by_row
from mergeometry.methods.base import Origin, Sizes, Spherical, Work, dense_deltas, parameters
from mergeometry.values import Delta, LowRank, sum_of

_PARALLEL = 1e-6
"""Sine of an angle below which two vectors span no plane: the arc is their chord, or undefined."""

_ROUNDING = 1e-14
"""How far shares that add up to one may be from it."""


@parameters
class Nuslerp(Spherical):
    """Interpolate between two task vectors along the arc between them, as one vector each or vector by vector.

    Law: with ``t = w_2 / (w_1 + w_2)`` and ``omega`` the angle between ``tau_1`` and ``tau_2``,
    ``tau = (sin((1 - t) omega) tau_1 + sin(t omega) tau_2) / sin(omega)``, each tensor taken as one vector. With
    ``flatten: false`` each row of a matrix (what leads to one output) is a vector with an angle of its own; with
    ``row_wise`` too, each column is, as in MergeKit, whose option of that name runs along the outputs. Where one vector
    is zero, or two are parallel or opposite to within 1e-6, it is ``(1 - t) tau_1 + t tau_2``. With ``origin: zero``,
    the weights ``W_1`` and ``W_2`` take the place of ``tau_1`` and ``tau_2``, and ``tau = W - W_0``.
    """

    source: ClassVar[str] = (
        "Shoemake 1985, Animating rotation with quaternion curves; of task vectors as in MergeKit, arXiv 2403.13257"
    )
    weights_are_shares: ClassVar[bool] = True
    scale_rule: ClassVar[str] = "projection"

    row_wise: Annotated[bool, Field(description="with flatten: false, a vector per column in place of one per row")] = (
        False
    )
    flatten: Annotated[bool, Field(description="take each tensor as one vector")] = True
    origin: Origin = "base"

    @property
    def equal_models(self) -> Literal["same"]:
        """The arc has no length."""
        return "same"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse any number of models but two."""
        super().check(tasks, shape, weights)
        if tasks != 2:
            raise ValueError(f"nuslerp interpolates between two models, got {tasks}")

    def extra_cost(self, sizes: Sizes) -> Work:
        """Three inner products, some rows at a time; then the sum; the weights of both, where these are merged."""
        return Work(6.0 * sizes.elements, sizes.piece * (3 if self.needs_base else 1))

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add both, each row or column times its share."""
        if not all(isinstance(delta, LowRank) for delta in deltas):
            deltas = dense_deltas(deltas)
        first, second = self._factors(deltas, weights)
        one, other = (self._turned(delta) for delta in deltas)
        return self._turned(sum_of([scaled_by_row(one, first), scaled_by_row(other, second)]))

    def merge_weights(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
    ) -> Float[Tensor, "*shape"]:
        """Add both task vectors, each row or column times its share, and the base by what the shares exceed one by."""
        first, second = self._factors([base + delta for delta in deltas], weights)
        beyond = first + second - 1
        beyond = torch.where(beyond.abs() > _ROUNDING, beyond, 0.0)
        pairs = zip((*deltas, base), (first, second, beyond), strict=True)
        merged = self._turned(sum_of([scaled_by_row(self._turned(each), factors) for each, factors in pairs]))
        assert isinstance(merged, Tensor)
        return merged

    def _factors(
        self, vectors: Sequence[Delta], weights: Sequence[float]
    ) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        one, other = (self._turned(vector) for vector in vectors)
        products = [inner_by_row(one, one), inner_by_row(other, other), inner_by_row(one, other)]
        if self.flatten:
            products = [product.sum(dim=0, keepdim=True) for product in products]
        return _shares(products[0], products[1], products[2], weights[1] / sum(weights))

    def _turned(self, delta: Delta) -> Delta:
        """Columns as rows, where each column is a vector."""
        if not self.row_wise or self.flatten or len(delta.shape) < 2:
            return delta
        return delta.transposed() if isinstance(delta, LowRank) else delta.transpose(0, -1)


def _shares(
    one: Float[Tensor, " rows"], other: Float[Tensor, " rows"], product: Float[Tensor, " rows"], t: float
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """What both vectors of each row are multiplied by, from their squares and their inner product."""
    sizes = one.clamp(min=0).sqrt() * other.clamp(min=0).sqrt()
    cosines = torch.where(sizes > 0, product / sizes, 1.0).clamp(-1, 1)
    angles = cosines.acos()
    curved = angles.sin() > _PARALLEL
    sines = torch.where(curved, angles.sin(), 1.0)
    first, second = (((part * angles).sin() / sines, part) for part in (1 - t, t))
    return torch.where(curved, *first), torch.where(curved, *second)
