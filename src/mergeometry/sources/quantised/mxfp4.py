"""MXFP4, as gpt-oss stores its experts: floats of 4 bits, with one power of two for each 32.

`W = table[q] * 2 ** (s - 127)`, two to a byte, the first in the low half. The files hold (experts, outputs, groups,
16); models have (experts, inputs, outputs).
Source: transformers integrations/mxfp4.py, convert_moe_packed_tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.deferred import Tensor, torch
from mergeometry.sources.formed import Reads
from mergeometry.sources.quantised.weight import Read, Settings, Tensors, Weight
from mergeometry.sources.tensors import TensorInfo

_TABLE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


@dataclass(frozen=True, slots=True)
class Experts:
    """The matrices of all experts; a piece is some of the experts."""

    blocks: TensorInfo
    exponents: TensorInfo

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Numbers and exponents."""
        return (self.blocks, self.exponents)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One expert."""
        _, outputs, groups, half = self.blocks.shape
        return outputs * groups * half * 2

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some experts."""
        _, outputs, groups, half = self.blocks.shape
        start, end = first // 2, last // 2
        packed = reader.read_range(self.blocks, start, end).reshape(-1, outputs, groups, half)
        each = half * 2
        stored = reader.read_range(self.exponents, first // each, last // each).view(torch.uint8)
        exponents = stored.reshape(-1, outputs, groups, 1).to(torch.int32) - 127
        table = torch.tensor(_TABLE)
        values = torch.stack((table[(packed & 15).long()], table[(packed >> 4).long()]), dim=-1).flatten(-2)
        return torch.ldexp(values, exponents).flatten(-2).transpose(1, 2).contiguous()


def mxfp4(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The stack of experts of some blocks.

    Raises:
        ValueError: blocks and exponents do not fit each other.
    """
    own = name.removesuffix("_blocks")
    scales = f"{own}_scales"
    if own == name or scales not in tensors or tensors[name].code != "U8":
        return None
    blocks, exponents = tensors[name], tensors[scales]
    if len(blocks.shape) != 4 or exponents.shape != blocks.shape[:3]:
        raise ValueError("the exponents do not fit the blocks")
    experts, outputs, groups, half = blocks.shape
    return Weight(own, (experts, groups * half * 2, outputs), Experts(blocks, exponents), (name, scales))
