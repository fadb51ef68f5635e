"""Reads tensors' bytes by `pread`, never by a memory map: truncating a mapped file kills the process."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Self

from mergeometry.deferred import torch
from mergeometry.errors import SourceError
from mergeometry.sources.files import open_regular, read_exactly, stamp_of
from mergeometry.sources.formed import FormedTensor, read_formed
from mergeometry.sources.tensors import TensorInfo


class TensorReader:
    """Reads tensors into memory of their own, keeping a bounded number of files open; use one per thread.

    Every read checks that the file is still the one whose header was validated, and raises SourceError, which names
    file and tensor, if it was truncated, replaced or written to.
    """

    def __init__(self, descriptors: int = 64) -> None:
        # A quarter of what the process may open: readers of several threads, and the writer, share it.
        self._most = max(1, min(descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._open: OrderedDict[Path, int] = OrderedDict()

    def read(self, info: TensorInfo) -> torch.Tensor:
        """Return the whole tensor in its own dtype and shape; SourceError if the file is no longer what it was."""
        if isinstance(info, FormedTensor):
            return read_formed(self, info, 0, info.elements).reshape(info.shape)
        return self._bytes(info, info.start, info.nbytes).view(info.dtype).reshape(info.shape)

    def read_range(self, info: TensorInfo, first_element: int, last_element: int) -> torch.Tensor:
        """Return elements ``first_element`` up to, not including, ``last_element`` as one row, for work in pieces.

        Raises:
            ValueError: the range lies outside the tensor.
            SourceError: the file is no longer what it was.
        """
        if not 0 <= first_element <= last_element <= info.elements:
            raise ValueError(f"range [{first_element}, {last_element}) outside the {info.elements} of {info.name!r}")
        if isinstance(info, FormedTensor):
            return read_formed(self, info, first_element, last_element)
        size = info.dtype.itemsize
        start = info.start + first_element * size
        return self._bytes(info, start, (last_element - first_element) * size).view(info.dtype)

    def read_into(self, info: TensorInfo, first_element: int, last_element: int, out: torch.Tensor) -> None:
        """Read the same into ``out``, a row of the tensor's dtype: memory that is used again costs no page faults.

        Raises:
            ValueError: the range lies outside the tensor, or ``out`` has another size or dtype.
            SourceError: the file is no longer what it was.
        """
        if not 0 <= first_element <= last_element <= info.elements:
            raise ValueError(f"range [{first_element}, {last_element}) outside the {info.elements} of {info.name!r}")
        if out.dtype is not info.dtype or tuple(out.shape) != (last_element - first_element,):
            raise ValueError(f"{tuple(out.shape)} of {out.dtype} do not fit a range of {info.name!r}")
        if isinstance(info, FormedTensor):
            out.copy_(read_formed(self, info, first_element, last_element))
            return
        self._fill(info, info.start + first_element * out.itemsize, out.view(torch.uint8))

    def close(self) -> None:
        """Close every file; the reader may be used again afterwards."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bytes(self, info: TensorInfo, start: int, count: int) -> torch.Tensor:
        buffer = torch.empty(count, dtype=torch.uint8)
        self._fill(info, start, buffer)
        return buffer

    def _fill(self, info: TensorInfo, start: int, buffer: torch.Tensor) -> None:
        descriptor = self._descriptor(info)
        try:
            done = read_exactly(descriptor, start, memoryview(buffer.numpy().data))
        except OSError as error:
            raise SourceError(f"reading failed: {error.strerror}", file=info.file, tensor=info.name) from error
        # After the read, so that a write during it is seen as well.
        self._check_unchanged(info, descriptor)
        if done != len(buffer):
            raise SourceError("the file was truncated while it was read", file=info.file, tensor=info.name)
        if info.dtype is torch.bool and len(buffer) and int(buffer.max()) > 1:
            # torch takes such bytes for true in one operation and for their number in the next.
            raise SourceError("a boolean is neither 0 nor 1", file=info.file, tensor=info.name)

    def _descriptor(self, info: TensorInfo) -> int:
        descriptor = self._open.get(info.file)
        if descriptor is not None:
            self._open.move_to_end(info.file)
            return descriptor
        try:
            descriptor = open_regular(info.file)
        except SourceError as error:
            error.tensor = info.name
            raise
        self._open[info.file] = descriptor
        while len(self._open) > self._most:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _check_unchanged(self, info: TensorInfo, descriptor: int) -> None:
        current = stamp_of(descriptor)
        if current == info.stamp:
            return
        # The next read opens the path again: the caller may have read the new file's header by then.
        os.close(self._open.pop(info.file))
        if current.size != info.stamp.size:
            what = f"the file had {info.stamp.size:,} bytes when its header was read and has {current.size:,} now"
        else:
            what = "the file was written to or replaced after its header was read"
        raise SourceError(
            what, file=info.file, tensor=info.name, hint="leave inputs alone while they are merged, then run again"
        )
