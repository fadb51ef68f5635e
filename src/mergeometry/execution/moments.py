"""Moments of a layer's inputs on disk, read by the process that merges the tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.errors import NumericalError
from mergeometry.sources import TensorInfo, TensorReader


@dataclass(frozen=True, slots=True)
class StoredMoments(Sequence[Tensor]):
    """One tensor's moments, task by task, each read whenever it is asked for and never kept."""

    infos: tuple[TensorInfo, ...]

    def __len__(self) -> int:
        return len(self.infos)

    @overload
    def __getitem__(self, index: int) -> Float[Tensor, "n n"]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Float[Tensor, "n n"]]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        info = self.infos[index]
        with TensorReader() as reader:
            moment = reader.read(info)
        if not bool(torch.isfinite(moment.sum())):
            raise NumericalError("the moments of a layer's inputs are not finite", file=info.file, tensor=info.name)
        return moment
