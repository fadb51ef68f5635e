"""Multi-slerp: the mean direction of the task vectors, as long as they are on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.inner import inner
from mergeometry.methods.base import Joint, Sizes, Work, check_mean, parameters, weighed
from mergeometry.values import Delta, sum_of


@parameters
class Multislerp(Joint):
    """Average the directions of the task vectors and their lengths apart, tensor by tensor.

    Law: ``tau = L m / |m|`` with the mean direction ``m = sum_t a_t tau_t / |tau_t|``, the mean length
    ``L = sum_t a_t |tau_t|`` and the shares ``a_t = w_t / sum_s w_s``; without ``normalize_weights``, ``a_t = w_t``.
    The published form takes a step on the sphere from ``m / |m|`` along the weighted sum of the directions' parts
    orthogonal to it; that sum is zero by the choice of ``m``. Where ``m`` is shorter than ``eps``, and so has no
    direction, ``tau = sum_t a_t tau_t``. Task vectors of zeros have a length but no direction.
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

    def __post_init__(self) -> None:
        """Weights that are not normalised multiply."""
        object.__setattr__(self, "weights_are_shares", self.normalize_weights)

    @property
    def equal_models(self) -> Literal["same", "sum"]:
        """They have one direction, and lengths that add up where the weights are not normalised."""
        return "same" if self.normalize_weights else "sum"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that add up to zero where they are normalised."""
        super().check(tasks, shape, weights)
        if self.normalize_weights:
            check_mean(weights)

    def extra_cost(self, sizes: Sizes) -> Work:
        """The inner products of all pairs of task vectors, some rows at a time; then the sum."""
        return Work(2.0 * sizes.elements * sizes.tasks**2, sizes.piece)

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the task vectors, each times a coefficient that their inner products give."""
        gram = torch.tensor([[inner(one, other) for other in deltas] for one in deltas], dtype=torch.float64)
        factors = self._factors(gram, torch.tensor(weights, dtype=torch.float64))
        return sum_of([weighed(delta, factor) for delta, factor in zip(deltas, factors.tolist(), strict=True)])

    def _factors(self, gram: Float[Tensor, "tasks tasks"], weights: Float[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        shares = weights / weights.sum() if self.normalize_weights else weights
        lengths = gram.diagonal().clamp(min=0).sqrt()
        inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
        directions = gram * inverse[:, None] * inverse
        mean = float((shares @ directions @ shares).clamp(min=0).sqrt())
        if mean < self.eps:
            return shares
        return shares * inverse * float(shares @ lengths) / mean
