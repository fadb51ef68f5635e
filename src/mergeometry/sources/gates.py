"""Tensors of a mixture that no model has: gates, biases of zero, and experts that were disturbed or scaled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mergeometry.deferred import Tensor, torch
from mergeometry.dtypes import compute_dtype
from mergeometry.sources.formed import Reads
from mergeometry.sources.tensors import TensorInfo


@dataclass(frozen=True, slots=True)
class Fixed:
    """Values that are known before the merge; ``beside`` is a tensor of the model that they were made for."""

    beside: TensorInfo
    values: Tensor = field(repr=False, compare=False)

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Nothing is read for them; the tensor says for which model they are."""
        return (self.beside,)

    @property
    def held(self) -> int:
        """The values themselves."""
        return self.values.nbytes

    @property
    def unit(self) -> int:
        """One entry."""
        return 1

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some entries."""
        return self.values.reshape(-1)[first:last]


@dataclass(frozen=True, slots=True)
class Disturbed:
    """`scale * (tensor + noise * N(0, 1))`, its numbers drawn for the name that it is written under."""

    tensor: TensorInfo
    name: str
    scale: float
    noise: float
    seed: int

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """The expert's tensor."""
        return (self.tensor,)

    @property
    def held(self) -> int:
        """What is read of the tensor: all of it where there is noise."""
        return self.tensor.nbytes if self.noise else 0

    @property
    def unit(self) -> int:
        """The whole tensor where there is noise, which is drawn at once; else one entry."""
        return max(1, self.tensor.elements) if self.noise else 1

    def entries(self, reader: Reads, first: int, last: int) -> Tensor:
        """Some entries."""
        values = reader.read_range(self.tensor, first, last).to(compute_dtype(self.tensor.code))
        if self.noise:
            digest = hashlib.sha256(f"{self.seed}\0{self.name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            values = values + self.noise * torch.randn(values.shape, generator=generator, dtype=values.dtype)
        return values * self.scale
