"""Model Stock: the mean of the models, pulled further towards the base the more they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.by_row import inner_by_row
from mergeometry.methods.base import Joint, Sizes, Work, dense_deltas, parameters, weighed
from mergeometry.values import Delta, LowRank, sum_of

_SINGULAR = 1e-6
"""Size of a ratio's denominator below which it has no value, which only ``clamp: false`` allows."""


@parameters
class ModelStock(Joint):
    """Shrink the mean task vector by how far apart the task vectors point, tensor by tensor or row by row.

    Law: ``tau = t mean_t(tau_t)`` with ``t = N cos / (1 + (N - 1) cos)`` and ``cos`` the mean cosine between two of
    the N task vectors: the point nearest to the centre of the shell on which fine-tuned weights lie. ``filter_wise``
    gives each row of outputs a ratio. Choices: a negative cosine counts as 0 (``clamp``); a task vector of zeros, or a
    row of zeros, is left out of N, cosine and mean (``skip_zeros``; else its cosines are 0); tensors of fewer than two
    dimensions have one ratio.
    """

    source: ClassVar[str] = (
        "Jang et al. 2024, Model Stock: all we need is just a few fine-tuned models, arXiv 2403.19522"
    )
    scale_rule: ClassVar[str] = "projection"

    filter_wise: Annotated[
        bool, Field(description="one ratio for each row of outputs, in place of one for the tensor")
    ] = False
    clamp: Annotated[
        bool, Field(description="count a negative mean cosine as 0; false goes past the base, as MergeKit does")
    ] = True
    skip_zeros: Annotated[
        bool,
        Field(description="leave out task vectors or rows of zeros; false takes them for orthogonal to all others"),
    ] = True

    @property
    def equal_models(self) -> Literal["same"]:
        """Task vectors that point in one direction have the ratio 1."""
        return "same"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The inner products of all pairs of task vectors, some rows at a time; then the sum."""
        return Work(2.0 * sizes.elements * sizes.tasks**2, sizes.piece)

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the task vectors, and multiply each row of the sum by its ratio over N."""
        if not all(isinstance(delta, LowRank) for delta in deltas):
            deltas = dense_deltas(deltas)
        grams = torch.stack([torch.stack([inner_by_row(one, other) for other in deltas]) for one in deltas])
        grams = grams.permute(2, 0, 1) * torch.tensor(weights).double().outer(torch.tensor(weights).double())
        factors = self._factors(grams if self.filter_wise else grams.sum(dim=0, keepdim=True))
        total = sum_of([weighed(delta, weight) for delta, weight in zip(deltas, weights, strict=True)])
        if isinstance(total, LowRank):
            return LowRank((total.left * factors[:, None]).to(total.left.dtype), total.core, total.right)
        factors = factors.to(total.dtype)
        return total.mul_(factors.view(-1, *[1] * (total.dim() - 1)) if total.dim() else factors[0])

    def _factors(self, grams: Float[Tensor, "rows tasks tasks"]) -> Float[Tensor, " rows"]:
        """``t / N`` of each row, from the inner products of its task vectors."""
        sizes = grams.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
        count = (sizes > 0).sum(dim=1) if self.skip_zeros else torch.full_like(sizes[:, 0], sizes.shape[1])
        sizes = torch.where(sizes > 0, sizes, 1.0)
        cosines = (grams / sizes[:, :, None] / sizes[:, None, :]).triu(diagonal=1).sum(dim=(1, 2))
        mean = torch.where(count > 1, cosines / (count * (count - 1) / 2).clamp(min=1), 1.0)
        mean = mean.clamp(0 if self.clamp else -1, 1)
        below = 1 + (count - 1).clamp(min=0) * mean
        # Opposing task vectors have no finite ratio; the base stays.
        return torch.where(below.abs() < _SINGULAR, 0.0, mean / below)
