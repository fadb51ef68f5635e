"""bitsandbytes: 4 bits (nf4, fp4) by a table and the largest number of each block, 8 bits with a scale per output.

4 bits: `W = table[q] * absmax[block]`, two to a byte, the first in the high half. With double quantisation the largest
numbers are stored likewise in 8 bits: `absmax = nested_table[a] * nested_absmax[block of a] + offset`.
8 bits: `W = q * SCB[output] / 127`.
Sources: bitsandbytes functional.py (QuantState.as_dict, dequantize_4bit), backends/default/ops.py; nn/modules.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from mergeometry.deferred import Tensor, torch
from mergeometry.sources.formed import Reads
from mergeometry.sources.quantised.weight import Read, Settings, Tensors, Weight
from mergeometry.sources.tensors import TensorInfo

_STATE = ".quant_state.bitsandbytes__"


@dataclass(frozen=True, slots=True)
class FourBit:
    """Numbers of 4 bits, by a table and the largest number of each block."""

    numbers: TensorInfo
    largest: TensorInfo
    table: TensorInfo
    block: int
    nested: tuple[TensorInfo, TensorInfo, int, float] | None
    """Double quantisation: largest numbers, table, block, offset."""

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The numbers, and what gives their values."""
        return (self.numbers, self.largest, self.table, *(self.nested[:2] if self.nested else ()))

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One block."""
        return self.block

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some blocks."""
        packed = reader.read_range(self.numbers, first // 2, -(-last // 2)).view(torch.uint8)
        both = torch.stack((packed >> 4, packed & 15), dim=1).reshape(-1)[: last - first]
        values = reader.read(self.table).float()[both.long()]
        largest = self._largest(reader)[first // self.block : -(-last // self.block)]
        return values.mul_(largest.repeat_interleave(self.block)[: last - first])

    def _largest(self, reader: Reads) -> Tensor:
        stored = reader.read(self.largest)
        if self.nested is None:
            return stored.float()
        largest, table, block, offset = self.nested
        spread = reader.read(largest).float().repeat_interleave(block)[: stored.numel()]
        return reader.read(table).float()[stored.long()] * spread + offset


@dataclass(frozen=True, slots=True)
class EightBit:
    """Numbers of 8 bits with the largest number of each output."""

    numbers: TensorInfo
    largest: TensorInfo

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The numbers and the outputs' largest."""
        return (self.numbers, self.largest)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One row."""
        return self.numbers.shape[1]

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some rows."""
        rows = reader.read_range(self.numbers, first, last).float().reshape(-1, self.unit)
        largest = reader.read(self.largest).float()[first // self.unit : last // self.unit]
        return rows.mul_(largest[:, None] / 127)


def bitsandbytes(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The weight of a quantisation state, or of the largest numbers of its outputs.

    Raises:
        ValueError: the state is malformed, or does not fit the weight.
    """
    own, state, _ = name.partition(_STATE)
    if state and own in tensors:
        return _four_bit(own, name, tensors, read)
    module = name.removesuffix(".SCB")
    own = f"{module}.weight"
    if module == name or own not in tensors or tensors[own].code != "I8":
        return None
    numbers, largest = tensors[own], tensors[name]
    if len(numbers.shape) != 2 or largest.elements != numbers.shape[0]:
        raise ValueError("the largest numbers of the outputs do not fit the weight")
    replaces = (own, name, *(other for other in (f"{module}.weight_format",) if other in tensors))
    return Weight(own, numbers.shape, EightBit(numbers, largest), replaces)


def _four_bit(own: str, state: str, tensors: Tensors, read: Read) -> Weight:
    try:
        told: dict[str, Any] = json.loads(read(tensors[state]))
        shape = tuple(int(side) for side in told["shape"])
        block, dtype = int(told["blocksize"]), str(told["dtype"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the quantisation state is malformed") from error
    wanted = [f"{own}.absmax", f"{own}.quant_map"]
    nested = [f"{own}.nested_absmax", f"{own}.nested_quant_map"] if "nested_blocksize" in told else []
    if missing := [other for other in (*wanted, *nested) if other not in tensors]:
        raise ValueError(f"{missing[0]!r} is missing")
    numbers, largest, table = tensors[own], tensors[wanted[0]], tensors[wanted[1]]
    elements = prod(shape)
    if numbers.code != "U8":
        raise ValueError(f"numbers of 4 bits in {numbers.code}")
    if block < 2 or block % 2 or any(side < 0 for side in shape) or numbers.nbytes != -(-elements // 2):
        raise ValueError(f"{numbers.nbytes} bytes are not a weight of shape {list(shape)}")
    if largest.elements != -(-elements // block) or table.elements != 16:
        raise ValueError("the largest numbers of the blocks do not fit the weight")
    inner = None
    if nested:
        inner = (tensors[nested[0]], tensors[nested[1]], int(told["nested_blocksize"]), float(told["nested_offset"]))
    return Weight(own, shape, FourBit(numbers, largest, table, block, inner), (own, state, *wanted, *nested), dtype)
