"""Merged task vectors on disk between merging and scoring: one file per set of methods that share them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mergeometry.errors import OutputError
from mergeometry.values import Delta, LowRank

_NUMBER = 4
"""Bytes of a number: encoders run in float32."""

_PAGE = 1 << 16
"""Bytes of the largest page that common systems have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one tensor's merged task vector as a dense tensor; a low-rank one takes less."""

    file: Path
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A merged task vector in its place: dense, or as the two factors of a product of rank ``rank``."""

    place: Place
    rank: int | None

    def read(self) -> Float32[Tensor, "*shape"]:
        """The dense task vector, memory-mapped where it is stored dense."""
        shape = self.place.shape
        if self.rank is None:
            return _mapped(self.place.file, self.place.offset, shape)
        m, n = shape
        left = _mapped(self.place.file, self.place.offset, (m, self.rank))
        right = _mapped(self.place.file, self.place.offset + m * self.rank * _NUMBER, (self.rank, n))
        return left @ right


def room(shape: tuple[int, ...]) -> int:
    """Bytes that a place of this shape takes, whole pages: two machines that write one page of a shared disk mix it."""
    elements = 1
    for side in shape:
        elements *= side
    return -(-elements * _NUMBER // _PAGE) * _PAGE


def create(sizes: dict[Path, int]) -> None:
    """Create the files at their full sizes; parts that are never written take no space on most file systems.

    Raises:
        OutputError: the disk has too little space for all of them.
    """
    for file, size in sizes.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as made:
            made.truncate(size)
    if sizes:
        folder = next(iter(sizes)).parent
        status = os.statvfs(folder)
        if sum(sizes.values()) > status.f_bavail * status.f_frsize:
            raise OutputError(
                f"merged task vectors take up to {sum(sizes.values()) / 1e9:.1f} GB of scratch space, and the disk has "
                f"{status.f_bavail * status.f_frsize / 1e9:.1f} GB left",
                file=folder,
                hint="compare fewer methods at a time: finished ones are kept in the output folder",
            )


def store(place: Place, delta: Delta) -> Stored:
    """Write a merged task vector as factors if they are smaller, else dense."""
    if isinstance(delta, LowRank):
        m, n = delta.shape
        left, right = delta.pair(torch.float32)
        rank = left.shape[1]
        if (m + n) * rank < m * n:
            _write(place.file, place.offset, left)
            _write(place.file, place.offset + m * rank * _NUMBER, right)
            return Stored(place, rank)
        delta = left @ right
    _write(place.file, place.offset, delta.to(torch.float32))
    return Stored(place, None)


def _write(file: Path, offset: int, tensor: Tensor) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(tensor.contiguous().cpu().numpy().data)


def _mapped(file: Path, offset: int, shape: tuple[int, ...]) -> Tensor:
    if 0 in shape:
        return torch.zeros(shape)
    # Copy on write: torch has no read-only tensors, and nothing writes into these.
    return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="c", offset=offset, shape=shape or (1,))).reshape(
        shape
    )
