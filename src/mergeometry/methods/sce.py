"""SCE: select the entries on which models differ most, calculate each model's share, erase minority signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mergeometry.linalg.selection import erase_minority, magnitude_threshold, share_of
from mergeometry.methods.base import Elementwise, Sizes, Work, parameters

_ENTRIES = 1 << 17
"""Entries held in float64 at a time."""


@parameters
class Sce(Elementwise):
    """Average the task vectors by their squared norms, on the entries where they differ most, signs elected.

    Law, tensor by tensor: of the entries where ``w_t tau_t`` differ between tasks, the share ``select_topk`` of largest
    variance is selected, and ``tau_t'`` is zero elsewhere. With the shares ``eta_t = |tau_t'|^2 / sum_s |tau_s'|^2``,
    ``tau = sum_A eta_t tau_t' / sum_A eta_t`` over the set ``A`` of tasks whose entry has the sign of
    ``sum_t tau_t'``; zero where that sum is zero. Entries that tie at the threshold are all selected. Where the mean
    squares of the entries of all ``tau_t'`` add up to less than ``uniform_below``, the shares are equal.
    """

    source: ClassVar[str] = "Wan et al. 2024, FuseChat, arXiv 2408.07990, section 3.3"

    select_topk: Annotated[float, Field(gt=0, le=1, description="share of entries selected by variance")] = 1.0
    uniform_below: Annotated[
        float, Field(ge=0, description="sum of mean squares below which all tasks have equal shares; 1e-6 in MergeKit")
    ] = 0.0

    @property
    def homogeneous(self) -> bool:
        """The bound is an absolute one."""
        return self.uniform_below == 0

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal task vectors differ nowhere, so all entries tie; their mean is any of them."""
        return "same"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The deviations of a selection, or the sum, what it is divided by, and the signs."""
        return Work(20.0 * sizes.elements * sizes.tasks, 5 * sizes.piece)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Select, calculate, erase, and average."""
        moves = [delta * weight for delta, weight in zip(deltas, weights, strict=True)]
        if self.select_topk < 1 and moves[0].numel():
            spread = _deviations(moves)
            selected = spread >= magnitude_threshold(spread, share_of(int(spread.count_nonzero()), self.select_topk))
            moves = [move.mul_(selected) for move in moves]
        sizes = torch.stack([torch.linalg.vector_norm(move, dtype=torch.float64) for move in moves])
        even = not sizes.any() or float(sizes.square().sum()) / moves[0].numel() < self.uniform_below
        squares = torch.ones_like(sizes) if even else (sizes / sizes.max()).square()
        shares = (squares / squares.sum()).tolist()
        total, held = torch.zeros_like(moves[0]), torch.zeros_like(moves[0])
        erase_minority(moves)
        for part, share in zip(moves, shares, strict=True):
            total.add_(part, alpha=share)
            held.add_(part.ne(0), alpha=share)
        return total.div_(held.clamp_(min=torch.finfo(held.dtype).tiny))


def _deviations(moves: Sequence[Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """Standard deviation of each entry over the tasks; exactly zero where all are equal."""
    flat = [move.reshape(-1) for move in moves]
    found = torch.empty_like(flat[0])
    for first in range(0, found.numel(), _ENTRIES):
        block = slice(first, first + _ENTRIES)
        apart = torch.stack([move[block].double() - flat[0][block].double() for move in flat])
        found[block] = apart.std(dim=0, correction=0).to(found.dtype)
    return found.reshape(moves[0].shape)
