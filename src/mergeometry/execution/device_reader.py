"""Reads what one tensor task needs to another device: each tensor once, and the next while one is computed with."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mergeometry.deferred import Shaped, Tensor, torch
from mergeometry.dtypes import compute_dtype
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.execution.transfer import Transfer
from mergeometry.sources import DenseUpdate, TensorInfo


class DeviceReader(TaskReader):
    """One task's view of its inputs on a device: bytes are hashed on their way, values checked once they are there.

    Close it before its reader is closed or used by another: one thread reads at a time.
    """

    def __init__(self, reader: Reads, *given: Any, device: torch.device) -> None:
        super().__init__(reader, *given)
        self._device, self._transfer = device, Transfer(reader, device)
        self._thread: ThreadPoolExecutor | None = None
        self._expected: tuple[tuple[str, str], Future[Tensor]] | None = None

    @property
    def device(self) -> torch.device:
        """Where tensors are computed with."""
        return self._device

    def raw(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor as it is stored, in main memory."""
        self._wait()
        return super().raw(label, info)

    def stored(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor as it is stored, on the device."""
        self._wait()
        return self._transfer.taken(self._moved(label, info))

    def numbers(self, label: str, info: TensorInfo) -> Shaped[Tensor, "*shape"]:
        """The tensor in the dtype that arithmetic runs in, on the device.

        Raises:
            NumericalError: an entry is NaN or infinite.
        """
        expected = self._wait()
        if expected is not None and expected[0] == (label, info.name):
            return self._transfer.taken(expected[1].result())
        return self._transfer.taken(self._numbers(label, info))

    def dense(self, label: str, update: DenseUpdate, base: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """An adapter's update that is formed from the base's tensor: in main memory, and then moved."""

        def read(info: TensorInfo) -> Tensor:
            return self.checked(label, info, self.raw(label, info).to(compute_dtype(info.code)))

        return update.of(read, base.cpu()).to(self._device)

    def expect(self, label: str, info: TensorInfo) -> None:
        """Begin to read what `numbers` will be asked for next."""
        self._wait()
        self._thread = self._thread or ThreadPoolExecutor(1, "read-ahead")
        self._expected = (label, info.name), self._thread.submit(self._numbers, label, info)

    def close(self) -> None:
        """Wait until nothing is read any more."""
        self._wait()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _wait(self) -> tuple[tuple[str, str], Future[Tensor]] | None:
        """What was begun, finished."""
        expected, self._expected = self._expected, None
        if expected is not None:
            expected[1].exception()
        return expected

    def _moved(self, label: str, info: TensorInfo) -> Tensor:
        size = info.dtype.itemsize
        return self._transfer.read(info, lambda first, part: self.hash(label, info, info.start + first * size, part))

    def _numbers(self, label: str, info: TensorInfo) -> Tensor:
        with self._transfer.beside():
            return self.checked(label, info, self._moved(label, info).to(compute_dtype(info.code)))
