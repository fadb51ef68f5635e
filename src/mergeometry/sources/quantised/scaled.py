"""Numbers of 8 bits with scales: per tensor, per output, per group of inputs, or per block.

`W = (q - z) * s`, with the scale `s` and the zero `z`, if there is one, spread over what they stand for.
Sources: DeepSeek-V3 inference/fp8_cast_bf16.py (weight_scale_inv, blocks of 128 x 128); compressed-tensors
compressors/quantized_compressors/naive_quantized.py and quantization/lifecycle/forward.py (weight_scale,
weight_zero_point); transformers integrations/fbgemm_fp8.py (weight_scale, one per output).
"""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.deferred import Tensor
from mergeometry.sources.formed import Reads
from mergeometry.sources.quantised.weight import Read, Settings, Tensors, Weight, present
from mergeometry.sources.tensors import TensorInfo

_NUMBERS = ("F8_E4M3", "F8_E5M2", "I8")
_UNUSED = (".input_scale", ".input_zero_point", ".input_scale_ub", ".output_scale", ".k_scale", ".v_scale")
"""Scales of activations."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A matrix of 8-bit numbers, with a scale for every ``block`` of (outputs, inputs)."""

    numbers: TensorInfo
    scale: TensorInfo
    zero: TensorInfo | None
    block: tuple[int, int]

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Numbers, scales and zeros."""
        return (self.numbers, self.scale, *([] if self.zero is None else [self.zero]))

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
        rows = slice(first // self.unit, last // self.unit)
        values = reader.read_range(self.numbers, first, last).float().reshape(-1, self.unit)
        if self.zero is not None:
            values -= self._spread(reader, self.zero, rows)
        return values.mul_(self._spread(reader, self.scale, rows))

    def _spread(self, reader: Reads, info: TensorInfo, rows: slice) -> Tensor:
        """A scale for every entry of some rows, or one that broadcasts to them."""
        scale = reader.read(info).float()
        if info.elements == 1:
            return scale.reshape(1, 1)
        height, width = self.block
        grid = scale.reshape(-(-self.numbers.shape[0] // height), -1)
        first = rows.start // height
        tall = grid[first : -(-rows.stop // height)].repeat_interleave(height, 0)
        tall = tall[rows.start - first * height : rows.stop - first * height]
        return tall if grid.shape[1] == 1 else tall.repeat_interleave(width, 1)[:, : self.unit]


def scaled(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The weight of a scale.

    Raises:
        ValueError: the scales do not fit the weight.
    """
    module, _, end = name.rpartition(".")
    own = f"{module}.weight"
    if end not in ("weight_scale", "weight_scale_inv") or own not in tensors:
        return None
    numbers, scale, zero = tensors[own], tensors[name], tensors.get(f"{module}.weight_zero_point")
    if numbers.code not in _NUMBERS or len(numbers.shape) != 2:
        return None
    block = _block(numbers.shape, scale.shape, settings)
    if zero is not None and zero.elements != scale.elements:
        raise ValueError(f"{scale.elements} scales and {zero.elements} zeros")
    unused = present(tensors, f"{module}.weight_zero_point", *(module + other for other in _UNUSED))
    return Weight(own, numbers.shape, Scaled(numbers, scale, zero, block), (own, name, *unused))


def _block(shape: tuple[int, ...], scale: tuple[int, ...], settings: Settings) -> tuple[int, int]:
    rows, columns = shape
    sides = tuple(scale)
    if sides in ((), (1,), (1, 1)):
        return rows, columns
    if sides in ((rows,), (rows, 1)):
        return 1, columns
    if len(sides) == 2 and sides[0] == rows and columns % sides[1] == 0:
        return 1, columns // sides[1]
    given = settings.get("weight_block_size") or [128, 128]
    if isinstance(given, list) and len(given) == 2 and all(type(side) is int and side > 0 for side in given):
        height, width = given
        if sides == (-(-rows // height), -(-columns // width)):
            return height, width
    raise ValueError(f"scales of shape {list(scale)} do not fit a weight of shape {list(shape)}")
