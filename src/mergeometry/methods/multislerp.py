"""Multi-slerp: the mean direction of the task vectors, as long as they are on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.inner import inner
from mergeometry.methods.base import Origin, Sizes, Spherical, Work, parameters, weighed
from mergeometry.values import Delta, sum_of

_ROUNDING = 1e-14
"""How far coefficients that add up to one may be from it."""


@parameters
class Multislerp(Spherical):
    """Average the directions of the task vectors and their lengths apart, tensor by tensor.

    Law: ``tau = L m / |m|`` with the mean direction ``m = sum_t a_t tau_t / |tau_t|``, the mean length
    ``L = sum_t a_t |tau_t|`` and the shares ``a_t = w_t / sum_s w_s``; without ``normalize_weights``, ``a_t = w_t``.
    The published form takes a step on the sphere from ``m / |m|`` along the weighted sum of the directions' parts
    orthogonal to it; that sum is zero by the choice of ``m``. Where ``m`` is shorter than ``eps``, and so has no
    direction, ``tau = sum_t a_t tau_t``. Task vectors of zeros have a length but no direction.
    With ``origin: zero``, the weights ``W_t`` take the place of the task vectors, and ``tau = W - W_0``.
    """

    source: ClassVar[str] = (
        "Goddard 2024, Multi-SLERP, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea; "
        "in MergeKit, arXiv 2403.13257"
    )
    weights_are_shares: ClassVar[bool] = True
    scale_rule: ClassVar[str] = "projection"

    normalize_weights: Annotated[bool, Field(description="divide the weights by their sum")] = True
    eps: Annotated[float, Field(gt=0, description="length below which the mean of unit vectors has no direction")] = (
        1e-8
    )
    origin: Origin = "base"

    def __post_init__(self) -> None:
        """Weights that are not normalised multiply."""
        super().__post_init__()
        object.__setattr__(self, "weights_are_shares", self.normalize_weights)

    @property
    def equal_models(self) -> Literal["same", "sum"] | None:
        """They have one direction, and lengths that add up where the weights are not normalised."""
        if self.normalize_weights:
            return "same"
        return "sum" if self.origin == "base" else None

    def extra_cost(self, sizes: Sizes) -> Work:
        """The inner products of all pairs, some rows at a time; the sum; the weights, where these are merged."""
        held = 1 + (sizes.tasks if self.needs_base else 0)
        return Work(2.0 * sizes.elements * sizes.tasks**2, held * sizes.piece)

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the task vectors, each times a coefficient that their inner products give."""
        pairs = zip(deltas, self._factors(deltas, weights), strict=True)
        return sum_of([weighed(delta, factor) for delta, factor in pairs])

    def merge_weights(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
    ) -> Float[Tensor, "*shape"]:
        """Add the task vectors, each times its model's coefficient, and the base by what these exceed one by."""
        factors = self._factors([base + delta for delta in deltas], weights)
        beyond = sum(factors) - 1
        merged = base * (beyond if abs(beyond) > _ROUNDING else 0.0)
        for delta, factor in zip(deltas, factors, strict=True):
            merged.add_(delta, alpha=factor)
        return merged

    def _factors(self, vectors: Sequence[Delta], given: Sequence[float]) -> list[float]:
        gram = torch.tensor([[inner(one, other) for other in vectors] for one in vectors], dtype=torch.float64)
        weights = torch.tensor(given, dtype=torch.float64)
        shares = weights / weights.sum() if self.normalize_weights else weights
        lengths = gram.diagonal().clamp(min=0).sqrt()
        inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
        directions = gram * inverse[:, None] * inverse
        mean = float((shares @ directions @ shares).clamp(min=0).sqrt())
        if mean < self.eps:
            return shares.tolist()
        return (shares * inverse * float(shares @ lengths) / mean).tolist()
