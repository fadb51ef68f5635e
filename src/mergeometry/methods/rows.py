"""Rows: rows that only some tasks changed are added, rows that all changed are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Rowwise, parameters

_ENTRIES = 1 << 20
"""Entries processed together, so that a table of any size takes little extra memory."""


@parameters
class Rows(Rowwise):
    """Merge a table row by row, as suits a table of word embeddings; average everything else.

    A row of such a table acts only on inputs that hold its token. Fine-tunes on different texts change different
    rows, so averaging needlessly divides most of what each has learned by the number of tasks.

    Law, for row i of a matrix, ``tau_t[i]`` times the model's weight: where every task has changed the row,
    ``tau[i] = mean_t tau_t[i]``; else ``tau[i] = g_i sum_t tau_t[i]`` with
    ``g_i = min(1, sum_t |tau_t[i]|^2 / |sum_t tau_t[i]|^2)``, the factor at which the sum holds the tasks' changes,
    on average over them, once: 1 for orthogonal rows or those of one task, 1/N for N equal ones. Task vectors of any
    other shape are averaged.
    """

    source: ClassVar[str] = "ours, docs/own-blocks.md"
    weights_are_shares: ClassVar[bool] = True

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal models have changed the same rows, which are averaged."""
        return "same"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Add the rows, and scale each by how many tasks changed it and how much their changes overlap."""
        total = torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, weights, strict=True):
            total.add_(delta, alpha=weight)
        if total.dim() != 2 or 0 in total.shape:
            return total.div_(sum(weights))
        rows = max(1, _ENTRIES // total.shape[1])
        for first in range(0, total.shape[0], rows):
            block = slice(first, first + rows)
            total[block] *= _factors(total[block], [delta[block] for delta in deltas], weights)[:, None]
        return total


def _factors(
    total: Float[Tensor, "rows n"], deltas: Sequence[Float[Tensor, "rows n"]], weights: Sequence[float]
) -> Float[Tensor, " rows"]:
    """What each row of the weighted sum is multiplied by."""
    pairs = list(zip(deltas, weights, strict=True))
    everywhere = torch.stack([delta.ne(0).any(dim=1) for delta, weight in pairs if weight]).all(dim=0)
    # Rows are scaled to size 1 first: squares of tiny or huge entries leave the range of float64.
    size = torch.stack([delta.abs().amax(dim=1).double() * abs(weight) for delta, weight in pairs]).amax(dim=0)
    size = torch.where(size > 0, size, 1.0)[:, None]
    alone = total.new_zeros(len(total), dtype=torch.float64)
    for delta, weight in pairs:
        alone += (delta.double() * weight / size).square().sum(dim=1)
    together = (total.double() / size).square().sum(dim=1)
    overlap = torch.where(together > alone, alone / together, 1.0)
    return torch.where(everywhere, 1 / sum(weights), overlap).to(total.dtype)
