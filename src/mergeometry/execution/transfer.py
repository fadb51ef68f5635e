"""Carries tensors from files to another device, through two buffers that take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle
from typing import Any

from mergeometry.deferred import Tensor, torch
from mergeometry.execution.task_reader import Reads
from mergeometry.sources import TensorInfo
from mergeometry.sources.formed import FormedTensor

_BUFFER_BYTES = 1 << 24
"""Bytes that are copied at a time: enough for the whole speed of the bus."""


class Transfer:
    """Reads tensors of files into memory of a device.

    While one buffer's bytes are on their way, the other is filled from the file and hashed. For a GPU both are pinned,
    and copies have a stream of their own, so that they run beside what the GPU computes.
    """

    def __init__(self, reader: Reads, device: torch.device, buffer_bytes: int = _BUFFER_BYTES) -> None:
        self._reader, self._device, self._bytes = reader, device, buffer_bytes
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._buffers: Iterator[_Buffer] | None = None

    def read(self, info: TensorInfo, passed: Callable[[int, Tensor], None]) -> Tensor:
        """The whole tensor in its own dtype and shape, on the device.

        ``passed`` sees every part in main memory, from the first on, with the place of its first entry.
        """
        if isinstance(info, FormedTensor):  # formed from other tensors as a whole
            passed(0, formed := self._reader.read(info).reshape(-1))
            return formed.to(self._device).view(info.shape)
        if self._buffers is None:
            self._buffers = cycle([_Buffer(self._bytes, self._stream) for _ in range(2)])
        with self.beside():
            there = torch.empty(info.elements, dtype=info.dtype, device=self._device)
            step = max(1, self._bytes // info.dtype.itemsize)
            for first in range(0, info.elements, step):
                last = min(first + step, info.elements)
                buffer = next(self._buffers)
                part = buffer.room(last - first, info.dtype)
                self._reader.read_into(info, first, last, part)
                passed(first, part)
                there[first:last].copy_(part, non_blocking=True)
                buffer.sent()
        if self._stream is not None:
            self._stream.synchronize()
        return there.view(info.shape)

    def beside(self) -> AbstractContextManager[Any]:
        """What is computed inside runs beside the device's other work."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def taken(self, tensor: Tensor) -> Tensor:
        """A tensor made beside the device's other work, which may now use it, too."""
        if self._stream is not None:
            tensor.record_stream(torch.cuda.current_stream(self._device))
        return tensor


class _Buffer:
    """Main memory whose bytes may still be on their way to a device."""

    def __init__(self, size: int, stream: Any) -> None:
        self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=stream is not None)
        self._stream, self._arrived = stream, None

    def room(self, count: int, dtype: torch.dtype) -> Tensor:
        """The buffer's memory, once what was in it has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._memory[: count * dtype.itemsize].view(dtype)

    def sent(self) -> None:
        """Remember where in the stream the copy stands."""
        if self._stream is not None:
            self._arrived = self._stream.record_event()
