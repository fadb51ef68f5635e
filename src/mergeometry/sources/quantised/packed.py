"""Integers that are packed into words of 32 bits: GPTQ, AWQ, compressed-tensors.

| format | words | a word's numbers | weight |
| --- | --- | --- | --- |
| GPTQ | (inputs / n, outputs) | n inputs, the first in the lowest bits | `s[g] * (q - z[g])`, `z` stored one too low |
| AWQ (gemm) | (inputs, outputs / 8) | 8 outputs, in the order 0 2 4 6 1 3 5 7 | `s[g] * (q - z[g])` |
| compressed-tensors | (outputs, inputs / n) | n inputs, the first lowest | `s[g] * (q - 2 ** (bits - 1))` |

Sources: AutoGPTQ nn_modules/qlinear/qlinear_cuda_old.py and GPTQModel (checkpoint_format gptq_v2: `z` as it is);
AutoAWQ modules/linear/gemm.py and utils/packing_utils.py; compressed-tensors
compressors/quantized_compressors/pack_quantized.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mergeometry.deferred import Tensor, torch
from mergeometry.sources.formed import Reads
from mergeometry.sources.quantised.weight import Read, Settings, Tensors, Weight, present
from mergeometry.sources.tensors import TensorInfo

_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def unpacked(words: Tensor, bits: int, side: Literal[0, 1], order: tuple[int, ...] | None = None) -> Tensor:
    """The numbers in words of 32 bits, which lie along one side; the lowest bits first, or in an order."""
    count = 32 // bits
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    numbers = (words.unsqueeze(side + 1) >> (shifts[:, None] if side == 0 else shifts)) & ((1 << bits) - 1)
    if order is not None:
        numbers = numbers.index_select(side + 1, torch.tensor([order.index(place) for place in range(count)]))
    return numbers.flatten(side, side + 1)


@dataclass(frozen=True, slots=True)
class InputsFirst:
    """GPTQ and AWQ, which store (inputs, outputs); a piece is some of the outputs."""

    words: TensorInfo
    zeros: TensorInfo
    scales: TensorInfo
    groups: TensorInfo | None
    """The group of every input; None where they follow each other."""
    bits: int
    shape: tuple[int, int]
    low_by_one: bool
    outputs_packed: bool

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Words, zeros, scales and groups."""
        return (self.words, self.zeros, self.scales, *([] if self.groups is None else [self.groups]))

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """The outputs of one word."""
        return self.shape[1] * 32 // self.bits

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some outputs."""
        inputs = self.shape[1]
        start, end = first // inputs, last // inputs
        each = 32 // self.bits
        of_words = slice(start // each, end // each)
        order = _AWQ_ORDER if self.outputs_packed else None
        words = reader.read(self.words)
        if self.outputs_packed:
            numbers = unpacked(words[:, of_words], self.bits, 1, order)
        else:
            numbers = unpacked(words[:, start:end], self.bits, 0)
        zeros = unpacked(reader.read(self.zeros)[:, of_words], self.bits, 1, order) + self.low_by_one
        scales = reader.read(self.scales)[:, start:end].float()
        groups = self._groups(reader, len(scales))
        return ((numbers - zeros[groups]).float() * scales[groups]).T

    def _groups(self, reader: Reads, count: int) -> Tensor:
        if self.groups is not None:
            return reader.read(self.groups).long()
        return torch.arange(self.shape[1]) // -(-self.shape[1] // count)


@dataclass(frozen=True, slots=True)
class OutputsFirst:
    """compressed-tensors, which stores (outputs, inputs); a piece is some of the rows."""

    words: TensorInfo
    scales: TensorInfo
    bits: int
    inputs: int

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Words and scales."""
        return (self.words, self.scales)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One row."""
        return self.inputs

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some rows."""
        start, end, width = first // self.inputs, last // self.inputs, self.words.shape[1]
        words = reader.read_range(self.words, start * width, end * width).reshape(-1, width)
        numbers = unpacked(words, self.bits, 1)[:, : self.inputs] - (1 << (self.bits - 1))
        scales = reader.read(self.scales).float().reshape(self.words.shape[0], -1)[start:end]
        return numbers.float() * scales.repeat_interleave(self.inputs // scales.shape[1], 1)


def gptq(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The weight of GPTQ's words.

    Raises:
        ValueError: the numbers have another width than 2, 4 or 8 bits, or the tensors do not fit each other.
    """
    module = name.removesuffix(".qweight")
    own = present(tensors, name, f"{module}.qzeros", f"{module}.scales", f"{module}.g_idx")
    if module == name or len(own) != 4:
        return None
    words, zeros, scales, groups = (tensors[each] for each in own)
    bits = settings.get("bits", 4)
    if bits not in (2, 4, 8):
        raise ValueError(f"GPTQ of {bits} bits")
    each = 32 // bits
    inputs, outputs = words.shape[0] * each, words.shape[1]
    _check(scales.shape[1:] == (outputs,) and zeros.shape == (scales.shape[0], outputs // each), outputs % each == 0)
    _check(groups.shape == (inputs,))
    low = settings.get("checkpoint_format", "gptq") == "gptq"
    form = InputsFirst(words, zeros, scales, groups, bits, (outputs, inputs), low, outputs_packed=False)
    return Weight(f"{module}.weight", (outputs, inputs), form, own)


def awq(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The weight of AWQ's words.

    Raises:
        ValueError: the model is packed for another kernel than gemm, or the tensors do not fit each other.
    """
    module = name.removesuffix(".qweight")
    own = present(tensors, name, f"{module}.qzeros", f"{module}.scales")
    if module == name or len(own) != 3 or f"{module}.g_idx" in tensors:
        return None
    words, zeros, scales = (tensors[each] for each in own)
    version, bits = str(settings.get("version", "gemm")).lower(), settings.get("bits", settings.get("w_bit", 4))
    if version != "gemm" or bits != 4:
        raise ValueError(f"AWQ of {bits} bits, packed for {version}")
    inputs, outputs = words.shape[0], words.shape[1] * 8
    _check(scales.shape[1:] == (outputs,) and zeros.shape == (scales.shape[0], words.shape[1]))
    _check(inputs % scales.shape[0] == 0)
    form = InputsFirst(words, zeros, scales, None, 4, (outputs, inputs), low_by_one=False, outputs_packed=True)
    return Weight(f"{module}.weight", (outputs, inputs), form, own)


def compressed(name: str, tensors: Tensors, settings: Settings, read: Read) -> Weight | None:
    """The weight of compressed-tensors' words.

    Raises:
        ValueError: the numbers have zeros, inputs in another order, or a width other than 4 or 8 bits.
    """
    module = name.removesuffix(".weight_packed")
    own = present(tensors, name, f"{module}.weight_scale")
    if module == name or len(own) != 2:
        return None
    for unknown in ("weight_zero_point", "weight_g_idx", "weight_global_scale"):
        if f"{module}.{unknown}" in tensors:
            raise ValueError(f"compressed-tensors with {unknown}")
    bits = _bits(settings)
    words, scales = tensors[name], tensors[f"{module}.weight_scale"]
    _check(words.code == "I32" and len(words.shape) == 2 and scales.shape[:1] == words.shape[:1])
    inputs = words.shape[1] * 32 // bits
    shape = f"{module}.weight_shape"
    if shape in tensors:
        told = torch.frombuffer(bytearray(read(tensors[shape])), dtype=tensors[shape].dtype).tolist()
        _check(len(told) == 2 and told[0] == words.shape[0] and -(-told[1] * bits // 32) == words.shape[1])
        inputs = told[1]
    groups = scales.elements // words.shape[0]
    _check(groups > 0 and inputs % groups == 0)
    form = OutputsFirst(words, scales, bits, inputs)
    return Weight(f"{module}.weight", (words.shape[0], inputs), form, (*own, *present(tensors, shape)))


def _bits(settings: Settings) -> int:
    groups = settings.get("config_groups")
    found = {
        group["weights"].get("num_bits")
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict) and isinstance(group.get("weights"), dict)
    }
    if len(found) != 1 or not found <= {4, 8}:
        raise ValueError(f"compressed-tensors of {' and '.join(map(str, found)) or 'unknown'} bits")
    return found.pop()


def _check(*fits: bool) -> None:
    if not all(fits):
        raise ValueError("the tensors of the weight do not fit each other")
