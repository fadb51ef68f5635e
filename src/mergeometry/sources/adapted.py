"""Tensors of a model with an adapter in it: its own and the updates, added while they are read."""

from __future__ import annotations

from dataclasses import dataclass

from mergeometry.deferred import Tensor
from mergeometry.dtypes import compute_dtype
from mergeometry.sources.formed import Form, Reads
from mergeometry.sources.lora import AdapterDelta, read_factors
from mergeometry.sources.tensors import TensorInfo
from mergeometry.sources.updates import DenseUpdate


@dataclass(frozen=True, slots=True)
class LowRankSum:
    """`base + scaling * left @ right`, some rows at a time."""

    base: TensorInfo
    update: AdapterDelta

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The base's tensor and the two factors."""
        return (self.base, *self.update.infos)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One row."""
        return self.base.shape[1]

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some rows, as one."""
        left, right = read_factors(reader.read, self.update)
        base = reader.read_range(self.base, first, last).to(compute_dtype(self.base.code))
        rows = left[first // self.unit : last // self.unit].to(base.dtype)
        return base.reshape(-1, self.unit).addmm_(rows, right.to(base.dtype), alpha=self.update.scaling)


@dataclass(frozen=True, slots=True)
class FormedSum:
    """`base + update`, where the update is formed from the base's tensor as a whole."""

    base: TensorInfo
    update: DenseUpdate

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The base's tensor and those of the update."""
        return (self.base, *self.update.infos)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """The whole tensor."""
        return max(1, self.base.elements)

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """The whole tensor."""

        def read(info: TensorInfo) -> Tensor:
            return reader.read(info).to(compute_dtype(info.code))

        base = read(self.base)
        return base + self.update.of(read, base)


@dataclass(frozen=True, slots=True)
class InPrecisionOf:
    """A tensor that an adapter stores whole, in the precision of the model's, as PEFT loads it."""

    replaced: TensorInfo

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The adapter's tensor."""
        return (self.replaced,)

    @property
    def held(self) -> int:
        """All of them."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """One entry."""
        return 1

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some entries."""
        return reader.read_range(self.replaced, first, last)


def form_of(base: TensorInfo, source: TensorInfo | AdapterDelta | DenseUpdate) -> Form:
    """How a tensor of a model is formed from what an adapter has of it."""
    if isinstance(source, TensorInfo):
        return InPrecisionOf(source)
    return LowRankSum(base, source) if isinstance(source, AdapterDelta) else FormedSum(base, source)
