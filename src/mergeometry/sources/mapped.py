"""Tables whose rows are taken from rows of other tables: what lets models of differing vocabularies be read alike.

Rows are gathered while they are read, a block at a time, so that no second table is ever written. Rows that nothing
fills are zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from mergeometry.deferred import Float, Int, Shaped, Tensor, torch
from mergeometry.sources.formed import FormedTensor, Reads, formed
from mergeometry.sources.tensors import TensorInfo

_BLOCK_BYTES = 1 << 24
"""Bytes of a table that are gathered at a time."""
_GAP_BYTES = 1 << 16
"""Bytes between two wanted rows that are read along with them: that costs less than a second read."""
_GAP_FORMED = 1 << 24
"""The same where the rows are themselves formed, from factors that each read needs again."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one tensor that go into rows of a table: as they are, or each multiplied by its share of a sum.

    ``targets`` ascend; with ``shares`` one of them may occur more than once.
    """

    info: TensorInfo
    targets: Int[Tensor, " rows"]
    sources: Int[Tensor, " rows"]
    shares: Float[Tensor, " rows"] | None = None


@dataclass(frozen=True, slots=True)
class MappedRows:
    """How a table is formed that has ``shape[axis]`` rows along ``axis``, in place of a tensor of its model's own."""

    own: TensorInfo
    shape: tuple[int, ...]
    axis: int
    rows: tuple[Rows, ...] = field(compare=False, repr=False)
    padding: int = field(compare=False)
    """How many of the last rows are the mean of all others."""

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Its own tensor, and those that rows are taken from."""
        return tuple(dict.fromkeys((self.own, *(rows.info for rows in self.rows))))

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self.shape[self.axis]

    @property
    def width(self) -> int:
        """Entries of a row."""
        return math.prod(self.shape) // max(1, self.count)

    @property
    def unit(self) -> int:
        """One row; the whole tensor where rows do not lie one after another."""
        return max(1, self.width if self._in_rows else math.prod(self.shape))

    @property
    def held(self) -> int:
        """Bytes of the blocks that are gathered for one piece."""
        return 4 * _BLOCK_BYTES if self._in_rows else sum(part.nbytes for part in self.parts)

    @property
    def _in_rows(self) -> bool:
        return math.prod(self.shape[: self.axis]) == 1

    def entries(self, reader: Reads, first: int, last: int) -> Shaped[Tensor, " count"]:
        """Some rows, as one."""
        if not self._in_rows:
            return _read_turned(reader, self).reshape(-1)[first:last]
        whole = torch.zeros((last - first) // self.unit, self.width, dtype=self.own.dtype)
        start = first // self.unit
        for low, high in _blocks(self, len(whole)):
            whole[low:high] = _block(reader, self, start + low, start + high)
        return whole.reshape(-1)


def mapped(info: TensorInfo, count: int, rows: tuple[Rows, ...], *, axis: int = 0, padding: int = 0) -> FormedTensor:
    """The table in place of ``info`` that has ``count`` rows along ``axis``, in the dtype of ``info``."""
    shape = (*info.shape[:axis], count, *info.shape[axis + 1 :])
    return formed(info.name, shape, info.code, MappedRows(info, shape, axis, rows, padding))


def _block(reader: Reads, table: MappedRows, first: int, last: int) -> Shaped[Tensor, "rows width"]:
    """Rows from the first up to, not including, the last."""
    block = torch.zeros(last - first, table.width, dtype=table.own.dtype)
    summed = []
    for rows in table.rows:
        low, high = torch.searchsorted(rows.targets, torch.tensor([first, last])).tolist()
        if low == high:
            continue
        part = Rows(rows.info, rows.targets[low:high], rows.sources[low:high])
        if rows.shares is None:
            block[part.targets - first] = _gather(reader, part.info, table.axis, part.sources).to(table.own.dtype)
        else:
            summed.append((part, rows.shares[low:high]))
    if summed:
        places = torch.cat([part.targets for part, _ in summed]).unique()
        sums = torch.zeros(len(places), table.width, dtype=torch.float64)
        for part, shares in summed:
            _add(reader, table.axis, part, shares, places, sums)
        block[places - first] = sums.to(table.own.dtype)
    filled = table.count - table.padding
    if last > filled:
        block[max(filled - first, 0) :] = _mean(reader, table, filled).to(table.own.dtype)
    return block


def _add(
    reader: Reads, axis: int, part: Rows, shares: Tensor, places: Tensor, sums: Float[Tensor, "places width"]
) -> None:
    """Add rows times their shares to the sums, a bounded number at a time."""
    step = max(1, _BLOCK_BYTES // (8 * max(1, sums.shape[1])))
    for start in range(0, len(shares), step):
        piece = slice(start, start + step)
        values = _gather(reader, part.info, axis, part.sources[piece]).double()
        where = torch.searchsorted(places, part.targets[piece])
        sums.index_add_(0, where, values * shares[piece].double()[:, None])


def _mean(reader: Reads, table: MappedRows, count: int) -> Float[Tensor, " width"]:
    total = torch.zeros(table.width, dtype=torch.float64)
    for first, last in _blocks(table, count):
        total += _block(reader, table, first, last).double().sum(0)
    return total / max(1, count)


def _gather(reader: Reads, info: TensorInfo, axis: int, wanted: Int[Tensor, " rows"]) -> Shaped[Tensor, "rows width"]:
    """Rows of a tensor in the order asked for, read in as few stretches of its file as are worth it."""
    width = info.elements // max(1, info.shape[axis])
    places, inverse = wanted.unique(return_inverse=True)
    gap = max(1, (_GAP_FORMED if isinstance(info, FormedTensor) else _GAP_BYTES) // max(1, width * info.item_size))
    breaks = (places.diff() > gap).nonzero().flatten() + 1
    stretches = []
    for stretch in torch.tensor_split(places, breaks):
        low, high = int(stretch[0]), int(stretch[-1]) + 1
        block = reader.read_range(info, low * width, high * width).view(high - low, width)
        stretches.append(block if high - low == len(stretch) else block[stretch - low])
    return torch.cat(stretches)[inverse]


def _read_turned(reader: Reads, table: MappedRows) -> Shaped[Tensor, "*shape"]:
    """A small tensor whose rows do not lie one after another, such as a factor of an adapter."""
    whole = torch.zeros(table.shape, dtype=table.own.dtype).movedim(table.axis, 0)
    for rows in table.rows:
        assert rows.shares is None
        whole[rows.targets] = reader.read(rows.info).movedim(table.axis, 0)[rows.sources].to(table.own.dtype)
    return whole.movedim(0, table.axis).contiguous()


def _blocks(table: MappedRows, count: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_BYTES // max(1, table.width * table.own.item_size))
    for first in range(0, count, step):
        yield first, min(first + step, count)
