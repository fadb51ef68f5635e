"""Fisher information on disk, read by the process that merges the tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Information
from mergeometry.sources import TensorInfo, TensorReader


@dataclass(frozen=True, slots=True)
class StoredFishers(Information):
    """One tensor's Fisher information, model by model, read whenever it is asked for and never kept.

    It lies as the base stores the tensor, of which ``shape`` is the shape there. A model that does not run the tensor
    has no information of it, which counts as zero. ``norms`` are those of all that is known of each model.
    """

    infos: tuple[TensorInfo | None, ...]
    norms: tuple[float, ...]
    shape: tuple[int, ...]
    transposed: bool

    def __len__(self) -> int:
        return len(self.infos)

    def norm(self, index: int) -> float:
        """The L2 norm of all that is known of a model."""
        return self.norms[index]

    def whole(self, index: int) -> Float[Tensor, "*shape"]:
        """A model's entries, oriented as the task vectors are."""
        values = self.piece(index, 0, math.prod(self.shape)).reshape(self.shape)
        return values.mT if self.transposed else values

    def piece(self, index: int, first: int, last: int) -> Float[Tensor, " count"]:
        """Some of a model's entries, as they lie in the file."""
        info = self.infos[index]
        if info is None:
            return torch.zeros(last - first)
        with TensorReader() as reader:
            return reader.read_range(info, first, last)
