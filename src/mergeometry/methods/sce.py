"""SCE: select the entries on which models differ most, calculate each model's share, erase minority signs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.order import LargestMagnitudes
from mergeometry.linalg.selection import share_of
from mergeometry.methods.base import (
    Elementwise,
    Pieces,
    Piecewise,
    Scratch,
    Sizes,
    Work,
    merged_in_pieces,
    parameters,
)


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

    @property
    def pieces(self) -> Pieces:
        """What to select and each model's share are known of the whole tensor first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Select, calculate, erase, and average pieces."""
        return _Selection(weights, self.select_topk, self.uniform_below, math.prod(shape))

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Select, calculate, erase, and average."""
        return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)


class _Selection(Piecewise):
    """Seeks the least deviation to select, where not all entries are; measures the task vectors there; then merges."""

    def __init__(self, weights: Sequence[float], select_topk: float, uniform_below: float, size: int) -> None:
        self._weights, self._select_topk, self._uniform_below = weights, select_topk, uniform_below * size
        self._search = LargestMagnitudes(total=size) if select_topk < 1 else None
        self._differing = 0
        self._least = 0.0
        self._squares = [0.0] * len(weights)
        self._shares: list[float] = []
        self._moves, self._wide = [Scratch() for _ in weights], Scratch()
        self._sign, self._agreeing, self._total, self._held = (Scratch() for _ in range(4))

    @property
    def measuring(self) -> bool:
        return not self._shares

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        if self._search is not None and self._search.unfinished:
            spread = _deviations(self._weighed(deltas))
            self._differing += int(spread.count_nonzero()) if not self._search.started else 0
            self._search.add(spread)
            return
        for place, move in enumerate(self._selected(deltas)):
            wide = self._wide.like(move, torch.float64).copy_(move)
            self._squares[place] += float(torch.dot(wide, wide))

    def measured(self) -> None:
        if self._search is not None and self._search.unfinished:
            if not self._search.started:
                self._search.seek([share_of(self._differing, self._select_topk)])
            self._search.end_pass()
            if not self._search.unfinished:
                self._least = self._search.magnitudes[0]
            return
        sizes = torch.tensor(self._squares, dtype=torch.float64).sqrt()
        even = not sizes.any() or sum(self._squares) < self._uniform_below
        squares = torch.ones_like(sizes) if even else (sizes / sizes.max()).square()
        self._shares = (squares / squares.sum()).tolist()

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        moves = self._selected(deltas)
        sign, total, held = (scratch.like(moves[0]).zero_() for scratch in (self._sign, self._total, self._held))
        for move in moves:
            sign.add_(move)
        sign.sign_()
        agreeing = self._agreeing.like(sign)
        for move, share in zip(moves, self._shares, strict=True):
            move.mul_(torch.sign(move, out=agreeing).eq_(sign))
            total.add_(move, alpha=share)
            held.add_(torch.ne(move, 0, out=agreeing), alpha=share)
        return total.div_(held.clamp_(min=torch.finfo(held.dtype).tiny))

    def _weighed(self, deltas: Sequence[Float[Tensor, " count"]]) -> list[Float[Tensor, " count"]]:
        places = zip(deltas, self._weights, self._moves, strict=True)
        return [torch.mul(delta, weight, out=move.like(delta)) for delta, weight, move in places]

    def _selected(self, deltas: Sequence[Float[Tensor, " count"]]) -> list[Float[Tensor, " count"]]:
        moves = self._weighed(deltas)
        if self._search is not None:
            selected = _deviations(moves) >= self._least
            for move in moves:
                move.mul_(selected)
        return moves


def _deviations(moves: Sequence[Float[Tensor, " count"]]) -> Float[Tensor, " count"]:
    """Standard deviation of each entry over the tasks; exactly zero where all are equal."""
    first = moves[0].double()
    apart = torch.stack([move.double() - first for move in moves])
    return apart.std(dim=0, correction=0).to(moves[0].dtype)
