"""Karcher mean: the point of the sphere nearest to all models, as far out as they are on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.inner import products_of_pairs
from mergeometry.methods.base import Pieces, Piecewise, Weightwise, merged_in_pieces, parameters
from mergeometry.methods.families.on_sphere import OnSphere

_ROUNDING = 1e-14
"""How far coefficients that add up to one may be from it."""

_OPPOSITE = 1e-6
"""Sine of an angle below which two directions are equal or opposite, and no arc or no single one joins them."""


@parameters
class Karcher(Weightwise):
    """Average the directions of the models' weights along the sphere, and their lengths apart, tensor by tensor.

    Law: ``W = mean_t(|W_t|) x`` and ``tau = W - W_0``, each tensor taken as one vector; the unit vector ``x`` minimises
    the sum of squared angles to ``u_t = W_t / |W_t|``. It starts at the mean of the ``u_t``, and moves along the arc of
    ``v = mean_t(theta_t (u_t - cos(theta_t) x) / sin(theta_t))``, with ``theta_t`` the angle between ``u_t`` and
    ``x``, for ``max_iter`` steps or until ``|v|`` is below ``tol``. Weights of zeros have no direction, and a direction
    opposite to ``x`` is left out of the step; where the ``u_t`` cancel, it starts at the first.
    """

    source: ClassVar[str] = (
        "Karcher 1977, Riemannian center of mass and mollifier smoothing; of models as in arXiv 2603.04972"
    )

    max_iter: Annotated[int, Field(ge=1, le=10_000, description="largest number of steps")] = 10
    tol: Annotated[float, Field(gt=0, description="length of a step, in radians, below which it ends")] = 1e-5

    @property
    def equal_models(self) -> Literal["same"]:
        """They have one direction and one length."""
        return "same"

    @property
    def pieces(self) -> Pieces:
        """How the whole tensors lie to each other comes first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of the task vectors and of the base by their shares."""
        return _Mean(weights, shape, self.max_iter, self.tol)

    def merge(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]]
    ) -> Float[Tensor, "*shape"]:
        """Add the task vectors by the models' coefficients, and the base by what these exceed one by."""
        return merged_in_pieces(self.piecewise([1.0] * len(deltas), base.shape), deltas, base)


class _Mean(OnSphere):
    """Measures the inner products of all models."""

    def __init__(self, weights: Sequence[float], shape: Sequence[int], max_iter: int, tol: float) -> None:
        super().__init__(weights, shape)
        self._gram = torch.zeros(len(weights), len(weights), dtype=torch.float64)
        self._max_iter, self._tol = max_iter, tol

    def add(self, models: Float[Tensor, "tasks count"]) -> float:
        products = products_of_pairs(list(models))
        self._gram += products
        return float(products.trace())

    def factors(self) -> tuple[float | None, list[float]]:
        gram = self._gram
        lengths = gram.diagonal().sqrt()
        alive = lengths > 0
        factors = torch.zeros_like(lengths)
        if alive.any():
            directions = gram[alive][:, alive] / lengths[alive] / lengths[alive][:, None]
            mean = _karcher_mean(directions, self._max_iter, self._tol)
            factors[alive] = lengths.mean() * mean / lengths[alive]
        beyond = float(factors.sum() - 1)
        return beyond if abs(beyond) > _ROUNDING else 0.0, factors.tolist()


def _karcher_mean(cosines: Float[Tensor, "tasks tasks"], max_iter: int, tol: float) -> Float[Tensor, " tasks"]:
    """The mean of unit vectors on their sphere, as coefficients of them, from the cosines between them."""
    share = torch.full_like(cosines[0], 1 / len(cosines))
    length = float((share @ cosines @ share).clamp(min=0).sqrt())
    mean = share / length if length >= tol else torch.eye(len(cosines)).double()[0]
    for _ in range(max_iter):
        towards = (cosines @ mean).clamp(-1, 1)
        angles = towards.acos()
        bends = torch.where(angles.sin() > _OPPOSITE, angles / angles.sin(), (towards > 0).double())
        step = share * bends - (share * bends @ towards) * mean
        length = float((step @ cosines @ step).clamp(min=0).sqrt())
        if length < tol:
            break
        mean = mean * torch.tensor(length).cos() + step * (torch.tensor(length).sin() / length)
        mean /= (mean @ cosines @ mean).sqrt()
    return mean
