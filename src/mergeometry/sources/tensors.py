"""Where one tensor lies on disk: the value that every later stage passes around."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mergeometry.deferred import torch
from mergeometry.dtypes import item_size, torch_dtype


class FileStamp(NamedTuple):
    """Identifies a file's content without reading it, so that a later change shows.

    The number of the device is no part of it: machines that mount one network file system number it differently.
    """

    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of one safetensors file, as its validated header describes it."""

    name: str
    code: str
    shape: tuple[int, ...]
    file: Path
    start: int
    nbytes: int
    stamp: FileStamp

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a tensor without dimensions."""
        return math.prod(self.shape)

    @property
    def stored(self) -> tuple[TensorInfo, ...]:
        """The tensors on disk that decide its values: itself."""
        return (self,)

    @property
    def item_size(self) -> int:
        """Bytes of one element."""
        return item_size(self.code)

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of the elements."""
        return torch_dtype(self.code)
