"""The common shrinkage of a table's rows, as weight decay leaves it, and the rows that moved otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.linalg.backend import entries_together

_BEYOND = 4.0
"""A row has moved where it is so many times as far from the common shrinkage as the typical row that has not.

In 32 bits the farthest of 7,600 rows that only decay and rounding changed was 1.2 to 2.3 times as far as their median,
at every learning rate, decay and number of steps that was tried, and the nearest trained row of a real table 50 times.
In 16 bits rounding alone comes up to four times.
"""

_FEW = 0.05
"""Share of the rows up to which leaving the still ones alone gains nothing, while some may be still by accident."""

BYTES_PER_ROW = 64
"""What is held of each row: three figures, and copies of two of them while the shrinkage is fitted."""

_ENTRIES = 1 << 17
"""Entries held in float64 at a time."""

_LOOKED_AT = 1 << 20
"""Entries that the dtype they were stored in is read off."""


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """What one model did to the rows of a table that it did not train: row ``w`` became ``(1 - factor) w``, or nearly.

    ``noise`` is the distance from that, relative to the row, up to which a row counts as still. Both are zero for a
    model that left most of these rows exactly as they were.
    """

    factor: float = 0.0
    noise: float = 0.0

    def __bool__(self) -> bool:
        return self.factor != 0 or self.noise != 0


class RowMovements:
    """How one model moved each of a table's rows: pass them in order to `add`, a few at a time.

    What is kept of all rows is allocated once: a little kept of each call would lie between what the calls give back,
    so that the allocator could not use that again.
    """

    def __init__(self, rows: int) -> None:
        self._figures = torch.empty(0, dtype=torch.float64)
        self._changed = torch.empty(0, dtype=torch.bool)
        self._of = rows
        self._width = self._rows = self._entries = 0
        self._dtype = torch.float32
        self._fits: dict[torch.dtype, list[int]] = {}

    def add(self, base: Float[Tensor, "rows n"], delta: Float[Tensor, "rows n"]) -> None:
        """Take the base's next rows, and those of the task vector."""
        if not self._rows:
            self._figures = torch.empty(2, self._of, dtype=torch.float64, device=base.device)
            self._changed = torch.empty(self._of, dtype=torch.bool, device=base.device)
        self._width, self._dtype = base.shape[1], base.dtype
        step = max(1, entries_together(base, _ENTRIES) // max(1, self._width))
        for first in range(0, len(base), step):
            self._add(base[first : first + step], delta[first : first + step])

    def _add(self, base: Float[Tensor, "rows n"], delta: Float[Tensor, "rows n"]) -> None:
        look = max(0, _LOOKED_AT // max(1, self._width) - self._rows)
        self._look(base[:look], delta[:look])
        part = slice(self._rows, self._rows + len(base))
        self._rows += len(base)
        weights, move = base.double(), delta.double()
        energy = weights.square().sum(dim=1)
        alive = energy > 0
        energy = torch.where(alive, energy, 1.0)
        along = (weights * move).sum(dim=1) / energy
        across = (move - along[:, None] * weights).square().sum(dim=1) / energy
        self._changed[part] = delta.ne(0).any(dim=1)
        # A row of zeros does not shrink: it has moved wherever it changed.
        self._figures[0, part] = torch.where(alive, -along, torch.nan)
        self._figures[1, part] = across.sqrt()

    def shrinkage(self) -> Shrinkage:
        """Fit the common factor and the noise around it to all rows.

        Candidates are rows that moved no more across their own direction than along it, or no further than rounding
        moves them. Both figures are medians over them: where most are exactly unchanged, there is no shrinkage and no
        noise.
        """
        if not self._rows:
            return Shrinkage()
        along, across = self._figures
        candidates = across <= along.abs().clamp(min=self._rounding())  # false where `along` is not a number
        count, rows = int(candidates.sum()), int(along.isfinite().sum())
        # In few dimensions a move along the row is no rare accident: at most this share of random directions.
        if count < 2 or count <= rows * max(_FEW, 2 * math.exp(-self._width / 4)):
            return Shrinkage()
        along, across = along[candidates], across[candidates]
        factor = along.median()
        away = float(torch.hypot(along - factor, across).median())
        # Rows that agree no better than that share no factor.
        agree = away <= max(abs(float(factor)) / 2, self._rounding())
        return Shrinkage(float(factor), _BEYOND * away) if agree else Shrinkage()

    def moved(self, shrinkage: Shrinkage) -> Bool[Tensor, " rows"]:
        """The rows that moved in any other way than by the shrinkage."""
        if not shrinkage:
            return self._changed
        along, across = self._figures
        distance = torch.hypot(along - shrinkage.factor, across)
        return self._changed & ~(distance <= shrinkage.noise)  # the distance of a row of zeros is not a number

    def _look(self, base: Float[Tensor, "rows n"], delta: Float[Tensor, "rows n"]) -> None:
        """Count the entries that a narrower dtype would have held."""
        self._entries += base.numel()
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            if torch.finfo(dtype).bits < torch.finfo(base.dtype).bits:
                fits = self._fits.setdefault(dtype, [0, 0])
                for place, values in enumerate((base, base + delta)):
                    fits[place] += int((values.to(dtype) == values).sum())

    def _rounding(self) -> float:
        """The unit roundoff of the coarser of the dtypes that base and model were stored in, as their values tell."""
        held = [dtype for dtype, fits in self._fits.items() if max(fits) > self._entries / 2]
        return max(torch.finfo(dtype).eps / 2 for dtype in (*held, self._dtype))
