"""Compares tensors on disk by their bytes, a piece at a time."""

from __future__ import annotations

from mergeometry.deferred import torch
from mergeometry.sources.reader import TensorReader
from mergeometry.sources.tensors import TensorInfo

_ELEMENTS = 1 << 24


def same_values(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two tensors have the same dtype, shape and bytes; reading stops at the first piece that differs.

    Raises:
        SourceError: a file is no longer what its header said.
    """
    if (one.code, one.shape) != (other.code, other.shape):
        return False
    with TensorReader() as reader:
        for first in range(0, one.elements, _ELEMENTS):
            last = min(first + _ELEMENTS, one.elements)
            pieces = (reader.read_range(info, first, last).view(torch.uint8) for info in (one, other))
            if not torch.equal(*pieces):
                return False
    return True
