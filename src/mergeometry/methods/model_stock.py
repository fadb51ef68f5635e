"""Model Stock: the mean of the models, pulled further towards the base the more they disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.by_row import inner_by_row, rows_together
from mergeometry.linalg.inner import products_of_pairs
from mergeometry.methods.base import (
    HELD_BYTES,
    Joint,
    Pieces,
    Piecewise,
    Scratch,
    Sizes,
    Work,
    dense_deltas,
    merged_in_pieces,
    parameters,
    weighed,
)
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
        """The inner products of all pairs of task vectors, each row's kept; the sum, kept too unless it is large."""
        products = 24 * sizes.tasks**2 * max(sizes.shape, default=1)
        whole = sizes.number * sizes.elements
        kept = whole if sizes.step and whole <= HELD_BYTES else 0
        return Work(2.0 * sizes.elements * sizes.tasks**2, sizes.piece + products + kept)

    @property
    def pieces(self) -> Pieces:
        """How the whole task vectors lie to each other comes first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add and shrink pieces of whole rows."""
        return _Shrinking(weights, shape, self._factors, filter_wise=self.filter_wise)

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the task vectors, and multiply each row of the sum by its ratio over N."""
        if not all(isinstance(delta, LowRank) for delta in deltas):
            return merged_in_pieces(self.piecewise(weights, deltas[0].shape), dense_deltas(deltas))
        grams = torch.stack([torch.stack([inner_by_row(one, other) for other in deltas]) for one in deltas])
        own = torch.tensor(weights).double().to(grams.device)
        grams = grams.permute(2, 0, 1) * own.outer(own)
        factors = self._factors(grams if self.filter_wise else grams.sum(dim=0, keepdim=True))
        total = sum_of([weighed(delta, weight) for delta, weight in zip(deltas, weights, strict=True)])
        assert isinstance(total, LowRank)
        return LowRank((total.left * factors[:, None]).to(total.left.dtype), total.core, total.right)

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


class _Shrinking(Piecewise):
    """Measures the rows' inner products, then adds the task vectors and multiplies rows by their ratios."""

    tells_finite: ClassVar[bool] = True
    sums_first: ClassVar[bool] = True

    def __init__(
        self,
        weights: Sequence[float],
        shape: Sequence[int],
        ratios: Callable[[Float[Tensor, "rows tasks tasks"]], Float[Tensor, " rows"]],
        *,
        filter_wise: bool,
    ) -> None:
        self._width = math.prod(shape[1:] if len(shape) > 1 else shape)
        self.step = rows_together(self._width) * self._width
        self._weights, self._ratios, self._filter_wise = weights, ratios, filter_wise
        self._grams: list[Tensor] = []
        self._factors: Tensor | None = None
        self._row = 0
        self._wide, self._product = [Scratch() for _ in weights], Scratch()
        self._weighed, self._total = Scratch(), Scratch()

    @property
    def measuring(self) -> bool:
        return self._factors is None

    @property
    def all_finite(self) -> bool:
        """Whether the inner products of the last piece are finite."""
        return not self._grams or math.isfinite(float(self._grams[-1].sum()))

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        wide = [held.like(delta, torch.float64).copy_(delta) for held, delta in zip(self._wide, deltas, strict=True)]
        if not self._filter_wise:
            self._grams.append(products_of_pairs(wide)[:, :, None])
            return
        product, tasks = self._product.like(wide[0]), range(len(deltas))
        rows = {
            (one, other): torch.mul(wide[one], wide[other], out=product).view(-1, self._width).sum(dim=1)
            for one in tasks
            for other in range(one + 1)
        }
        self._grams.append(torch.stack([torch.stack([rows[max(s, t), min(s, t)] for t in tasks]) for s in tasks]))

    def measured(self) -> None:
        grams = torch.cat(self._grams, dim=2).permute(2, 0, 1)
        own = torch.tensor(self._weights).double().to(grams.device)
        grams = grams * own.outer(own)
        self._grams = []
        self._factors = self._ratios(grams if self._filter_wise else grams.sum(dim=0, keepdim=True))

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        return self.merge_sum(self.sum(deltas, self._total.like(deltas[0])))

    def sum(self, deltas: Sequence[Float[Tensor, " count"]], out: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        for place, (delta, weight) in enumerate(zip(deltas, self._weights, strict=True)):
            term = delta if weight == 1.0 else torch.mul(delta, weight, out=self._weighed.like(delta))
            out.copy_(term) if place == 0 else out.add_(term)
        return out

    def merge_sum(self, total: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        assert self._factors is not None
        first, self._row = self._row, self._row + len(total) // max(1, self._width)
        factors = self._factors[first : self._row] if self._filter_wise else self._factors
        total.view(-1, self._width or 1).mul_(factors.to(total)[:, None])
        return total
