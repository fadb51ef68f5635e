"""Thin factors side by side, converted to float64 a few rows at a time: no wide matrix is ever formed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.linalg.backend import entries_together
from mergeometry.linalg.svd import gram
from mergeometry.products import product

_ENTRIES = 1 << 16
"""Entries converted at a time: half a megabyte in float64, which stays in the processor's cache."""

_KEPT = 1 << 17
"""Entries up to which what was converted is kept: a megabyte, read again in less time than converted again."""

_SQUARES_UNDERFLOW = 1e-250
"""Squared lengths below which float64 may have lost digits of a square."""


class SideBySide:
    """The matrix ``[F_1 | ... | F_T]`` of shape (m, r); the factors stay as they are, in their own dtypes."""

    def __init__(self, factors: Sequence[Float[Tensor, "m _"]]) -> None:
        self._factors = list(factors)
        self.width = sum(factor.shape[1] for factor in factors)
        """The number of columns."""
        self.rows = factors[0].shape[0]
        self._lies_flat = all(factor.mT.is_contiguous() for factor in factors)
        """Whether each column is one piece of memory, as the rows of ``lora_A`` are."""
        self._buffer: Tensor | None = None

    def gram(self, through: Float[Tensor, "r k"] | None = None) -> Float[Tensor, "k k"]:
        """Upper triangle of ``X.T @ X``, of this matrix X, or of X times ``through``."""
        size = self.width if through is None else through.shape[1]
        total = torch.zeros(size, size, dtype=torch.float64, device=self._factors[0].device)
        for _, block in self._blocks():
            total += gram(block if through is None else product(block, through))
        return total

    def times(self, matrix: Float[Tensor, "r k"]) -> Float[Tensor, "m k"]:
        """The product with a small matrix, in float64; laid out in memory as the factors are."""
        shape = (self.rows, matrix.shape[1])
        whole = torch.empty(shape[:: -1 if self._lies_flat else 1], dtype=torch.float64, device=matrix.device)
        for rows, block in self._blocks():
            if self._lies_flat:
                whole[:, rows] = product(matrix.mT, block.mT)
            else:
                whole[rows] = product(block, matrix)
        return whole.mT if self._lies_flat else whole

    def whole(self) -> Float[Tensor, "m r"]:
        """All of it, in float64."""
        return torch.cat([factor.double() for factor in self._factors], dim=1)

    def scaled(self) -> tuple[SideBySide, Float[Tensor, "r r"], Float[Tensor, " r"]]:
        """A matrix whose columns point the same way, its Gram matrix, and what its columns are to be multiplied by.

        It is this one, and the factors are 1, unless squares of its entries would leave float64's range.

        Raises:
            NumericalError: an entry is not finite.
        """
        total = self.gram()
        squares = total.diagonal()
        zero = squares == 0
        wide = any(factor.dtype == torch.float64 for factor in self._factors)
        if bool((torch.isfinite(squares) & ((squares > _SQUARES_UNDERFLOW) | (zero & (not wide)))).all()):
            return self, total, torch.ones_like(squares)
        exact = self.whole()
        sizes = exact.abs().amax(dim=0)
        if not bool(torch.isfinite(sizes).all()):
            raise NumericalError("a matrix to decompose holds NaN or Inf")
        sizes = torch.where(sizes > 0, sizes, 1.0)
        rescaled = SideBySide([exact / sizes])
        return rescaled, rescaled.gram(), sizes

    def _blocks(self) -> Iterator[tuple[slice, Float[Tensor, "b r"]]]:
        """Some rows after others, each block valid until the next."""
        if self.rows * self.width <= _KEPT:
            if self._buffer is None:
                self._buffer = self._fresh(self.rows)
                self._convert(slice(None), self._buffer)
            yield slice(None), self._buffer
            return
        step = max(1, entries_together(self._factors[0], _ENTRIES) // max(1, self.width))
        step = min(step, self.rows)
        if self._buffer is None:  # used again: fresh memory takes longer than what is done with it
            self._buffer = self._fresh(step)
        for first in range(0, self.rows, step):
            rows = slice(first, min(first + step, self.rows))
            block = self._buffer[: rows.stop - first]
            self._convert(rows, block)
            yield rows, block

    def _fresh(self, rows: int) -> Float[Tensor, "rows r"]:
        """Memory for some rows, laid out as the factors are."""
        shape = (self.width, rows) if self._lies_flat else (rows, self.width)
        memory = torch.empty(shape, dtype=torch.float64, device=self._factors[0].device)
        return memory.mT if self._lies_flat else memory

    def _convert(self, rows: slice, block: Float[Tensor, "b r"]) -> None:
        column = 0
        for factor in self._factors:
            following = column + factor.shape[1]
            block[:, column:following].copy_(factor[rows])
            column = following


def scaled_columns(matrix: Float[Tensor, "m k"], factors: Float[Tensor, " k"], out: Float[Tensor, "m k"]) -> None:
    """Multiply each column by its factor, in the matrix's precision, into a tensor of any; some rows at a time."""
    step = max(1, _ENTRIES // max(1, matrix.shape[1]))
    for first in range(0, matrix.shape[0], step):
        rows = slice(first, first + step)
        out[rows].copy_(matrix[rows] * factors)
