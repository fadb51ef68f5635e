"""Rows: rows that only some tasks changed are added, rows that all changed are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.linalg.shrinkage import BYTES_PER_ROW, RowMovements, Shrinkage
from mergeometry.methods.base import (
    PIECE_ELEMENTS,
    Accumulator,
    Held,
    Pieces,
    Piecewise,
    Rowwise,
    Sizes,
    Work,
    accumulate,
    dense_deltas,
    merged_in_pieces,
    parameters,
)
from mergeometry.values import Delta


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

    Weight decay shrinks every row ``w`` of the base by one factor, ``c_t``, and rounding moves it a little. With the
    base's weights at hand, ``c_t`` is fitted, and a task has changed a row where ``tau_t[i] + c_t w`` exceeds the noise
    of the others. Where some tasks have and others have not, the sum is that of the former's ``tau_t[i] + c_t w``, and
    the mean of all shrinkages is added.
    """

    source: ClassVar[str] = "ours, docs/own-blocks.md"
    weights_are_shares: ClassVar[bool] = True
    uses_base: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True

    @property
    def equal_models(self) -> Literal["same"]:
        """Equal models have changed the same rows, which are averaged."""
        return "same"

    @property
    def pieces(self) -> Pieces:
        """How the model shrank the whole table comes first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Measure how each model moved each row, then merge a few rows at a time."""
        return _ByRow(weights, shape, measures=True)

    def begin_parts(
        self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None
    ) -> Accumulator[list[Delta]]:
        """Each task's rows as they enter the merge, multiplied out."""

        def parts(deltas: list[Delta]) -> list[Delta]:
            dense = dense_deltas(deltas)
            under = None if base is None else base.to(dense[0].dtype)
            by_row = _ByRow(weights, dense[0].shape, measures=under is not None)
            if by_row.measuring:
                assert under is not None
                by_row.measure([delta.reshape(-1) for delta in dense], under.reshape(-1))
                by_row.measured()
            return list(by_row.parts(dense, under))

        return Held(parts)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The same without the base's weights."""
        return accumulate(self.begin_parts(weights), len(deltas), deltas.__getitem__)

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold all task vectors, multiplied out."""

        def merge(deltas: list[Delta]) -> Delta:
            dense = dense_deltas(deltas)
            under = None if base is None else base.to(dense[0].dtype)
            return merged_in_pieces(_ByRow(weights, dense[0].shape, measures=base is not None), dense, under)

        return Held(merge)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Merge without the base's weights: every row that differs has changed."""
        return merged_in_pieces(_ByRow(weights, deltas[0].shape, measures=False), deltas)

    def extra_cost(self, sizes: Sizes) -> Work:
        """Two products of every row, and what they give of each row and task."""
        rows = sizes.shape[0] if len(sizes.shape) == 2 else 0
        return Work(10.0 * sizes.elements * sizes.tasks, BYTES_PER_ROW * rows * sizes.tasks)


class _ByRow(Piecewise):
    """Measures how each model moved each row, then merges whole rows; averages what is no matrix."""

    def __init__(self, weights: Sequence[float], shape: Sequence[int], *, measures: bool) -> None:
        self._width = shape[1] if len(shape) == 2 else 0
        self.step = max(1, PIECE_ELEMENTS // self._width) * self._width if self._width else PIECE_ELEMENTS
        self._weights = weights
        # A single model is its own mean, whatever moved.
        several = sum(weight != 0 for weight in weights) > 1
        self._movements = [RowMovements(shape[0]) for _ in weights] if measures and self._width and several else []
        self._shrinkages: list[Shrinkage] = []
        self._moved: Tensor | None = None
        self._row = 0

    @property
    def measuring(self) -> bool:
        return bool(self._movements)

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        assert base is not None
        for movements, delta, weight in zip(self._movements, deltas, self._weights, strict=True):
            if weight:
                movements.add(base.view(-1, self._width), delta.view(-1, self._width))

    def measured(self) -> None:
        self._shrinkages = [movements.shrinkage() for movements in self._movements]
        if any(self._shrinkages):
            pairs = zip(self._movements, self._shrinkages, self._weights, strict=True)
            self._moved = torch.stack([movements.moved(shrinkage) for movements, shrinkage, weight in pairs if weight])
        self._movements = []

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        total = torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, self._weights, strict=True):
            total.add_(delta, alpha=weight)
        if not self._width:
            return total.div_(sum(self._weights))
        table = total.view(-1, self._width)
        pairs = [(delta.view(-1, self._width), weight) for delta, weight in zip(deltas, self._weights, strict=True)]
        if self._moved is None:
            table *= _factors(table, pairs)[:, None]
            return total
        assert base is not None
        first, self._row = self._row, self._row + len(table)
        return self._without_shrinkage(table, pairs, base.view_as(table), self._moved[:, first : self._row]).view(-1)

    def parts(
        self, deltas: Sequence[Float[Tensor, "*shape"]], base: Float[Tensor, "*shape"] | None
    ) -> Iterator[Float[Tensor, "*shape"]]:
        """What each task adds to a merge of the whole tensor, after `measured` where it is measured."""
        shares = sum(self._weights)
        pairs = list(zip(deltas, self._weights, strict=True))
        if not self._width or self._moved is None:
            factors = _factors(_sum(pairs), pairs)[:, None] if self._width else 1 / shares
            yield from (delta * weight * factors for delta, weight in pairs)
            return
        assert base is not None
        moves = [
            (torch.where(row[:, None], delta.add(base, alpha=each.factor), 0.0), weight)
            for (delta, weight), each, row in zip(pairs, self._shrinkages, self._rows_moved(), strict=True)
        ]
        overlaps = _overlaps(_sum(moves), moves)[:, None].to(base.dtype)
        alike = (self._moved.all(dim=0) | ~self._moved.any(dim=0))[:, None]
        for (delta, weight), (move, _), each in zip(pairs, moves, self._shrinkages, strict=True):
            apart = (move * weight * overlaps).sub_(base, alpha=weight * each.factor / shares)
            yield torch.where(alike, delta * (weight / shares), apart)

    def _rows_moved(self) -> Iterator[Bool[Tensor, " rows"]]:
        """The rows that each model moved; none of a model that does not count."""
        assert self._moved is not None
        counted = iter(self._moved)
        for weight in self._weights:
            yield next(counted) if weight else torch.zeros_like(self._moved[0])

    def _without_shrinkage(
        self,
        total: Float[Tensor, "rows n"],
        pairs: Sequence[tuple[Float[Tensor, "rows n"], float]],
        base: Float[Tensor, "rows n"],
        moved: Bool[Tensor, "tasks rows"],
    ) -> Float[Tensor, "rows n"]:
        """Add what moved besides the shrinkage, where some tasks' did; the mean of all shrinkages stays."""
        shrunk = [
            (delta, weight, each.factor)
            for (delta, weight), each in zip(pairs, self._shrinkages, strict=True)
            if weight
        ]
        moves = [
            (torch.where(row[:, None], delta.add(base, alpha=factor), 0.0), weight)
            for (delta, weight, factor), row in zip(shrunk, moved, strict=True)
        ]
        added = torch.zeros_like(total)
        for move, weight in moves:
            added.add_(move, alpha=weight)
        added *= _overlaps(added, moves)[:, None].to(added.dtype)
        shares = sum(self._weights)
        added.sub_(base, alpha=sum(weight * factor for _, weight, factor in shrunk) / shares)
        alike = moved.all(dim=0) | ~moved.any(dim=0)
        return torch.where(alike[:, None], total.div_(shares), added)


def _sum(pairs: Sequence[tuple[Float[Tensor, "*shape"], float]]) -> Float[Tensor, "*shape"]:
    """The weighted sum, adding one task at a time."""
    total = torch.zeros_like(pairs[0][0])
    for delta, weight in pairs:
        total.add_(delta, alpha=weight)
    return total


def _factors(
    total: Float[Tensor, "rows n"], pairs: Sequence[tuple[Float[Tensor, "rows n"], float]]
) -> Float[Tensor, " rows"]:
    """What each row of the weighted sum is multiplied by."""
    everywhere = torch.stack([delta.ne(0).any(dim=1) for delta, weight in pairs if weight]).all(dim=0)
    return torch.where(everywhere, 1 / sum(weight for _, weight in pairs), _overlaps(total, pairs)).to(total.dtype)


def _overlaps(
    total: Float[Tensor, "rows n"], pairs: Sequence[tuple[Float[Tensor, "rows n"], float]]
) -> Float[Tensor, " rows"]:
    """The factor at which each row of the weighted sum holds the tasks' changes, on average over them, once."""
    # Rows are scaled to size 1 first: squares of tiny or huge entries leave the range of float64.
    size = torch.stack([delta.abs().amax(dim=1).double() * abs(weight) for delta, weight in pairs]).amax(dim=0)
    size = torch.where(size > 0, size, 1.0)[:, None]
    alone = total.new_zeros(len(total), dtype=torch.float64)
    for delta, weight in pairs:
        alone += (delta.double() * weight / size).square().sum(dim=1)
    together = (total.double() / size).square().sum(dim=1)
    return torch.where(together > alone, alone / together, 1.0)
