"""Exchanges values between processes through a store in the main process, and reports the failure of any process."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]  (documented as public)

from mergeometry.errors import ExecutionError

_CHUNK = 4 << 20
"""Bytes of one entry: the store takes at most 8 MiB."""

_FAILED, _LEFT = "failed", "left"
_PAUSES = (0.0005, 0.05)
"""Seconds between two checks of the store, at first and at most."""

_SHUTDOWN = timedelta(seconds=30)
"""How long the main process serves the others after it is done."""


class Exchange:
    """Numbered exchanges: in each, every process gives one plain value and reads the values of all.

    They go through a store, since a process that waits in a collective operation cannot see that another has failed.
    """

    def __init__(self, store: TCPStore, rank: int, count: int, device: torch.device, patience: timedelta) -> None:
        self._store, self._rank, self._count = store, rank, count
        self._device, self._patience = device, patience
        self._number = 0
        self._chunks: dict[int, int] = {}

    @classmethod
    def among(cls, rank: int, count: int, device: torch.device, patience: timedelta) -> Exchange:
        """The exchange among all processes of Accelerate's group; each process calls this once."""
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415

        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        port: list[Any] = [None]
        store = None
        if rank == 0:
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=patience)
            port = [store.port]
        broadcast_object_list(port)
        store = store or TCPStore(host, port[0], is_master=False, timeout=patience)
        return cls(store, rank, count, device, patience)

    def all(self, value: Any) -> Iterator[Any]:
        """The values of all processes in the order of ranks; this process's own value is not copied.

        Raises:
            ExecutionError: another process fails, ends or does not answer.
        """
        self._number += 1
        number = self._number
        with _reached("the main process"):
            self._give(number, value)
            # A process that gave its value to the previous exchange has read all values of the exchange before it.
            self._forget(number - 2)
        for rank in range(self._count):
            yield value if rank == self._rank else self._take(number, rank)

    def reduce(self, tensor: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """The sum of a tensor over all processes, in place; all processes must call this together.

        Raises:
            ExecutionError: another process ends.
        """
        with _reached("another process"):
            torch.distributed.all_reduce(tensor)
        return tensor

    def fail(self, text: str) -> None:
        """Tell the other processes why this one ends; only the first failure is kept."""
        try:
            if self._store.add("failures", 1) == 1:
                self._store.set(_FAILED, f"{self._rank}\n{text}")
        except RuntimeError:
            return  # the main process has ended, which the others notice themselves

    def leave(self) -> None:
        """Leave without an error: the main process serves until all processes have read everything."""
        try:
            self._store.add(_LEFT, 1)
            deadline = time.monotonic() + _SHUTDOWN.total_seconds()
            while self._rank == 0 and self._store.add(_LEFT, 0) < self._count and time.monotonic() < deadline:
                time.sleep(_PAUSES[0])
        except RuntimeError:
            return

    def _give(self, number: int, value: Any) -> None:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        data = buffer.getvalue()
        chunks = range(0, len(data), _CHUNK)
        for index, first in enumerate(chunks):
            self._store.set(f"{number}/{self._rank}/{index}", data[first : first + _CHUNK])  # pyright: ignore[reportArgumentType]
        self._store.set(f"{number}/{self._rank}", str(len(chunks)))
        self._chunks[number] = len(chunks)

    def _forget(self, number: int) -> None:
        for index in range(self._chunks.pop(number, 0)):
            self._store.delete_key(f"{number}/{self._rank}/{index}")

    def _take(self, number: int, rank: int) -> Any:
        key = f"{number}/{rank}"
        with _reached("the main process"):
            self._wait(key, rank)
            chunks = int(self._store.get(key))
            data = b"".join(self._store.get(f"{key}/{index}") for index in range(chunks))
        return torch.load(io.BytesIO(data), map_location=self._place, weights_only=True)

    def _place(self, storage: Any, location: str) -> Any:
        # A tensor from another process's GPU goes to this process's device.
        target = "cpu" if location == "cpu" else str(self._device)
        return torch.serialization.default_restore_location(storage, target)

    def _wait(self, key: str, rank: int) -> None:
        deadline, pause = time.monotonic() + self._patience.total_seconds(), _PAUSES[0]
        while not self._store.check([key]):
            if self._store.check([_FAILED]):
                failed, _, text = self._store.get(_FAILED).decode().partition("\n")
                raise ExecutionError(f"process {failed} of learning failed, which ended all others: {text}")
            if time.monotonic() > deadline:
                raise ExecutionError(
                    f"process {rank} of learning has been silent for {self._patience.total_seconds() / 60:.0f} minutes"
                )
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])


@contextmanager
def _reached(who: str) -> Iterator[None]:
    """Turn errors of lost connections into an ExecutionError."""
    try:
        yield
    except RuntimeError as error:
        raise ExecutionError(f"{who} of learning has ended") from error
